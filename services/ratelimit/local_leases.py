"""Places that this replica gives out by itself while Redis is away."""

from collections import OrderedDict
from collections.abc import Sequence

from services.ratelimit import concurrency
from services.ratelimit.concurrency import Holders
from services.ratelimit.lending_ports import Holder, LeaseName
from services.ratelimit.verdict import Verdict

MAX_HOLDERS = 10_000
"""Subjects that may hold places here at the same time; further ones are denied."""


class LocalLeases:
    """The pure rule with a memory; times are microseconds since 1970."""

    def __init__(self) -> None:
        # Whoever took or renewed a lease last stands at the end.
        self._holders: OrderedDict[Holder, Holders] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def held(self) -> Sequence[tuple[Holder, Holders]]:
        """Return who holds what now."""
        return list(self._holders.items())

    def look(self, holder: Holder, *, now: int, places: int) -> Verdict:
        """Tell whether a place is free."""
        _, verdict = concurrency.look(self._of(holder), now=now, places=places)
        return verdict

    def acquire(
        self, holder: Holder, *, now: int, places: int, lease: bytes, ttl: int
    ) -> tuple[Verdict, int | None]:
        """Take a place if one is free; returns when the lease ends."""
        holders, verdict, end = concurrency.acquire(
            self._of(holder), now=now, places=places, lease=lease, ttl=ttl
        )
        if end is not None and not self._has_room(holder, now):
            return verdict._replace(admits=False), None
        if end is not None:
            self._keep(holder, holders)
        return verdict, end

    def renew(self, name: LeaseName, *, now: int, ttl: int) -> int | None:
        """Let a lease end `ttl` from now; None if it is not held here."""
        holders, end = concurrency.renew(self._of(name.holder), now=now, lease=name.lease, ttl=ttl)
        if end is not None:
            self._keep(name.holder, holders)
        return end

    def release(self, name: LeaseName, *, now: int) -> bool:
        """Give a place back; returns whether it was held here."""
        holders, released = concurrency.release(self._of(name.holder), now=now, lease=name.lease)
        if holders.ends:
            self._keep(name.holder, holders)
        else:
            self._holders.pop(name.holder, None)
        return released

    def drop(self, holder: Holder, *, now: int) -> bool:
        """Forget all that a subject holds; returns whether that was anything."""
        holders = self._holders.pop(holder, None)
        return holders is not None and holders.alive(now) > 0

    def forget(self, holder: Holder, holders: Holders) -> None:
        """Forget what was held, unless it has changed meanwhile."""
        if self._holders.get(holder) is holders:
            del self._holders[holder]

    def _of(self, holder: Holder) -> Holders:
        return self._holders.get(holder) or Holders()

    def _keep(self, holder: Holder, holders: Holders) -> None:
        self._holders[holder] = holders
        self._holders.move_to_end(holder)

    def _has_room(self, holder: Holder, now: int) -> bool:
        """Make room by forgetting those who hold nothing any more, from the oldest on."""
        if holder in self._holders or len(self._holders) < MAX_HOLDERS:
            return True
        oldest, holders = next(iter(self._holders.items()))
        if holders.alive(now):
            return False
        del self._holders[oldest]
        return True
