"""What the copies of a near cache are made of, so that making many of them unfit costs nothing.

An invalidation marks what it concerns (a tag, a namespace, the beginning of a key) at the same cost
for one copy as for a million. A copy looks at its marks when it is next asked for, and only if
anything was invalidated since it last looked.
"""

from collections import deque
from dataclasses import dataclass
from weakref import WeakValueDictionary

from mainstay.cache.results import Hit
from mainstay.cache.watching import Invalidation

# Beginnings of keys that a namespace remembers one by one; beyond, all of it is marked.
MOST_PREFIXES = 32
# Names in the invalidations that are remembered for reads in flight.
MOST_RECENT_NAMES = 4_096


class Mark:
    """When something was last invalidated: by the service's order and by our own.

    Copies are concerned whose entry has a lower sequence, or that were kept before `at`.
    """

    __slots__ = ("__weakref__", "at", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.at = 0

    def raise_to(self, sequence: int, at: int) -> None:
        """Note an invalidation."""
        self.sequence = max(self.sequence, sequence)
        self.at = max(self.at, at)

    def concerns(self, copy: "Copy") -> bool:
        """Tell whether a copy is from before."""
        return copy.hit.sequence < self.sequence or copy.kept_at < self.at


class Space:
    """A namespace of a tenant, with the beginnings of keys that were invalidated in it."""

    __slots__ = ("__weakref__", "mark", "prefixed_at", "prefixes")

    def __init__(self) -> None:
        self.mark = Mark()
        self.prefixes: dict[str, Mark] = {}
        self.prefixed_at = 0

    def invalidate_prefix(self, prefix: str, sequence: int, at: int, now: int) -> None:
        """Mark the keys that begin so, or the whole namespace when it has too many such marks."""
        self.prefixed_at = now
        self.prefixes.setdefault(prefix, Mark()).raise_to(sequence, at)
        if len(self.prefixes) > MOST_PREFIXES:
            for mark in self.prefixes.values():
                self.mark.raise_to(mark.sequence, mark.at)
            self.prefixes.clear()


class Home:
    """What the copies of a tenant have in common from one flush to the next."""

    __slots__ = (
        "ahead",
        "changes",
        "epoch",
        "forgotten",
        "heard",
        "mark",
        "reading",
        "recent",
        "recent_names",
        "sequence",
        "spaces",
        "tags",
        "used",
    )

    def __init__(self, *, epoch: str, sequence: int, heard: float, used: float) -> None:
        self.epoch = epoch
        self.sequence = sequence
        self.heard = heard
        self.used = used
        self.changes = 0
        # By how much the store's clock was seen to be ahead of ours, in seconds.
        self.ahead = 0.0
        self.mark = Mark()
        self.tags: WeakValueDictionary[str, Mark] = WeakValueDictionary()
        self.spaces: WeakValueDictionary[str, Space] = WeakValueDictionary()
        # For reads in flight: what was invalidated, by number of change.
        self.reading = 0
        self.recent: deque[tuple[int, Invalidation, int | None]] = deque()
        self.recent_names = 0
        self.forgotten = 0

    def remember(self, change: Invalidation, sequence: int | None) -> None:
        """Remember a change for the reads in flight, if there are any."""
        if not self.reading:
            return
        self.recent.append((self.changes, change, sequence))
        self.recent_names += count_names(change)
        while self.recent_names > MOST_RECENT_NAMES:
            self.forgotten, oldest, _ = self.recent.popleft()
            self.recent_names -= count_names(oldest)


class Copy:
    """A kept answer."""

    __slots__ = ("checked_at", "hit", "home", "kept_at", "size", "space", "tags", "until")

    def __init__(
        self,
        hit: Hit,
        *,
        home: Home,
        space: Space,
        tags: tuple[Mark, ...],
        until: float,
        size: int,
    ) -> None:
        self.hit = hit
        self.home = home
        self.space = space
        self.tags = tags
        self.until = until
        self.size = size
        self.kept_at = self.checked_at = home.changes

    def is_fit(self, key: str) -> bool:
        """Tell whether nothing that was invalidated since the last look concerns it."""
        home, space = self.home, self.space
        if home.mark.concerns(self) or space.mark.concerns(self):
            return False
        if any(mark.concerns(self) for mark in self.tags):
            return False
        if self.checked_at < space.prefixed_at:
            for prefix, mark in space.prefixes.items():
                if key.startswith(prefix) and mark.concerns(self):
                    return False
        self.checked_at = home.changes
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A read in flight: since when, by the monotonic clock and by the clock on the wall."""

    home: Home
    since: int
    sent: float
    sent_wall: float


def count_names(change: Invalidation) -> int:
    """Return how much room a change takes among those that are remembered."""
    return 1 + len(change.entries) + len(change.tags) + len(change.prefixes)
