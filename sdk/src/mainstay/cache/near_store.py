"""The copies that a near cache holds, and what makes them unfit. Pure: the time is an argument.

What an invalidation concerns is marked, a copy looks at its marks when it is next asked for, and a
flush replaces the home of all copies of a tenant: see `mainstay.cache.near_copies`. What is unfit
and never asked for again makes room as the least recently used.
"""

from collections import OrderedDict

from mainstay.cache.near_copies import Copy, Home, Mark, Reading, Space
from mainstay.cache.results import Hit
from mainstay.cache.watching import Discontinuity, Invalidation, Started, Watched

# A stream says something every second; three of silence are as good as broken.
SILENCE_SECONDS = 3.0
# What a copy takes besides its texts and bytes: the objects it is made of, and its tags'.
OVERHEAD_BYTES = 900
TAG_BYTES = 300
_NEVER = float("-inf")

Name = tuple[str, str, str]


class NearStore:
    """Copies of entries of several tenants, together bounded by `max_bytes`.

    Each tenant is opened before and told all that its stream says, in `hear`. Moments are seconds:
    `now` by a monotonic clock, `wall` since 1970.

    Attributes:
        hits: Copies that were given back.
        misses: Times that there was none, or an unfit one.
        flushes: Times that all copies of a tenant were dropped.
        held_bytes: What the copies take up, unfit ones included until they are gone.

    """

    def __init__(self, max_bytes: int) -> None:
        self.hits = 0
        self.misses = 0
        self.flushes = 0
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._homes: dict[str, Home] = {}
        self._copies: OrderedDict[Name, Copy] = OrderedDict()

    def __len__(self) -> int:
        """Count the copies."""
        return len(self._copies)

    def open(self, tenant: str, now: float) -> None:
        """Begin with a tenant; copies are kept once its stream has started."""
        self._homes[tenant] = Home(epoch="", sequence=0, heard=_NEVER, used=now)

    def close(self, tenant: str) -> None:
        """Drop all copies of a tenant and everything that is known of it."""
        if self._homes.pop(tenant, None) is not None:
            self.flushes += 1

    def last_used(self) -> dict[str, float]:
        """Return for each tenant when it was last asked for."""
        return {tenant: home.used for tenant, home in self._homes.items()}

    def get(self, tenant: str, namespace: str, key: str, now: float) -> Hit | None:
        """Return the copy of an entry, or None where there is none that may be served."""
        name = (tenant, namespace, key)
        copy = self._copies.get(name)
        home = self._homes.get(tenant)
        if home is not None:
            home.used = now
        if copy is None:
            self.misses += 1
            return None
        if (
            copy.home is not home
            or now >= copy.until
            or now - home.heard >= SILENCE_SECONDS
            or (copy.checked_at != home.changes and not copy.is_fit(key))
        ):
            self._drop(name)
            self.misses += 1
            return None
        self._copies.move_to_end(name)
        self.hits += 1
        return copy.hit

    def begin(self, tenant: str, now: float, wall: float) -> Reading | None:
        """Begin a read whose answer may be kept; None while the stream of the tenant is not up.

        Every read that was begun is to be ended by `end`.
        """
        home = self._homes.get(tenant)
        if home is None or now - home.heard >= SILENCE_SECONDS:
            return None
        home.reading += 1
        return Reading(home=home, since=home.changes, sent=now, sent_wall=wall)

    def end(self, reading: Reading) -> None:
        """End a read."""
        home = reading.home
        home.reading -= 1
        if not home.reading:
            home.recent.clear()
            home.recent_names = 0

    def keep(
        self, reading: Reading, tenant: str, namespace: str, key: str, hit: Hit, now: float
    ) -> bool:
        """Keep the answer of a read in flight, unless it may be unfit by now."""
        home = reading.home
        size = _size(namespace, key, hit)
        until = _until(reading, hit)
        if (
            self._homes.get(tenant) is not home
            or now >= until
            or size > self._max_bytes
            or _was_invalidated(reading, namespace, key, hit)
        ):
            return False
        name = (tenant, namespace, key)
        self._drop(name)
        space = home.spaces.setdefault(namespace, Space())
        tags = tuple(home.tags.setdefault(tag, Mark()) for tag in hit.tags)
        self._copies[name] = Copy(hit, home=home, space=space, tags=tags, until=until, size=size)
        self.held_bytes += size
        while self.held_bytes > self._max_bytes:
            self._drop(next(iter(self._copies)))
        return True

    def apply(self, tenant: str, change: Invalidation, sequence: int | None = None) -> None:
        """Make copies unfit: those that `change` concerns, and what reads in flight bring of them.

        Without a `sequence` it is a change of our own, which concerns everything kept until now.
        """
        home = self._homes.get(tenant)
        if home is None:
            return
        home.changes += 1
        home.remember(change, sequence)
        # Own changes have no place in the service's order yet; stream messages have no other.
        by_sequence, at = (0, home.changes) if sequence is None else (sequence, 0)
        if change.everything:
            home.mark.raise_to(by_sequence, at)
        for namespace, key in change.entries:
            self._drop((tenant, namespace, key))
        for tag in change.tags:
            if (mark := home.tags.get(tag)) is not None:
                mark.raise_to(by_sequence, at)
        for namespace in change.namespaces:
            if (space := home.spaces.get(namespace)) is not None:
                space.mark.raise_to(by_sequence, at)
        for namespace, prefix in change.prefixes:
            if (space := home.spaces.get(namespace)) is not None:
                space.invalidate_prefix(prefix, by_sequence, at, home.changes)

    def hear(self, tenant: str, message: Watched, now: float, wall: float) -> None:
        """Take in a message of the tenant's stream."""
        home = self._homes.get(tenant)
        if home is None:
            return
        if isinstance(message.event, Started) or _breaks(home, message, now):
            home = self._flush(tenant, message)
        elif isinstance(message.event, Invalidation):
            self.apply(tenant, message.event, message.sequence)
            _compare_clocks(home, message.event, wall)
        home.sequence = message.sequence
        home.heard = now

    def lose(self, tenant: str) -> None:
        """Drop all copies of a tenant, whose stream has broken, until it starts again."""
        home = self._homes.get(tenant)
        if home is not None and home.heard != _NEVER:
            self._homes[tenant] = Home(epoch="", sequence=0, heard=_NEVER, used=home.used)
            self.flushes += 1

    def _flush(self, tenant: str, message: Watched) -> Home:
        before = self._homes[tenant]
        home = Home(epoch=message.epoch, sequence=message.sequence, heard=_NEVER, used=before.used)
        self._homes[tenant] = home
        # A stream that starts for the first time finds nothing to flush.
        self.flushes += before.heard != _NEVER
        return home

    def _drop(self, name: Name) -> None:
        copy = self._copies.pop(name, None)
        if copy is not None:
            self.held_bytes -= copy.size


def _breaks(home: Home, message: Watched, now: float) -> bool:
    """Tell whether something may have been missed before this message."""
    return (
        isinstance(message.event, Discontinuity)
        or message.epoch != home.epoch
        or message.previous_sequence > home.sequence
        or message.sequence < home.sequence
        or now - home.heard >= SILENCE_SECONDS
    )


def _was_invalidated(reading: Reading, namespace: str, key: str, hit: Hit) -> bool:
    """Tell whether anything that came while the read was in flight concerns its answer."""
    home = reading.home
    if reading.since < home.forgotten:
        return True
    for at, change, sequence in reversed(home.recent):
        if at <= reading.since:
            return False
        if _concerns(change, sequence, namespace, key, hit):
            return True
    return False


def _concerns(
    change: Invalidation, sequence: int | None, namespace: str, key: str, hit: Hit
) -> bool:
    if (namespace, key) in change.entries:
        return True
    if sequence is not None and hit.sequence >= sequence:
        return False
    return (
        change.everything
        or namespace in change.namespaces
        or any(tag in change.tags for tag in hit.tags)
        or any(space == namespace and key.startswith(prefix) for space, prefix in change.prefixes)
    )


def _until(reading: Reading, hit: Hit) -> float:
    """Return until when a copy may be served, by the monotonic clock.

    All of it counts from when the request was sent, which is before the service looked. Expiry is
    a moment of the store's clock, of which is known only that it is at least as far as what it has
    stamped; so ours is moved ahead by as much as it was seen to be behind, and never back. A clock
    of ours that is fast shortens the life of copies; one that is slow, and was not yet seen to be,
    lengthens it, but not past `near_max_age`.
    """
    if hit.near_max_age is None:
        return _NEVER
    ahead = max(reading.home.ahead, hit.create_time.timestamp() - reading.sent_wall)
    store_now = reading.sent_wall + ahead
    ends = [hit.near_max_age.total_seconds()]
    ends += [
        moment.timestamp() - store_now
        for moment in (hit.soft_expire_time, hit.expire_time)
        if moment is not None
    ]
    return reading.sent + min(ends)


def _compare_clocks(home: Home, change: Invalidation, wall: float) -> None:
    if change.invalidate_time is not None:
        home.ahead = max(home.ahead, change.invalidate_time.timestamp() - wall)


def _size(namespace: str, key: str, hit: Hit) -> int:
    texts = (namespace, key, hit.content_type, hit.ttl_class, *hit.tags)
    objects = OVERHEAD_BYTES + TAG_BYTES * len(hit.tags)
    return objects + len(hit.value) + sum(map(len, texts))
