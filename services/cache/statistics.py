"""What the cache counts, added up in memory until somebody takes it along.

A hit costs one look into a dict and a few additions: the rest is done every few seconds, in the
background, for all hits since. Times are milliseconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.cache.entry import Entry, MissReason
from services.cache.keys import EntryName

MAX_GROUPS = 5_000
OTHER = "(other)"
"""Stands for the namespaces that came when there were too many; no namespace is called so."""


class Group(NamedTuple):
    """What is counted together."""

    tenant: str
    namespace: str
    ttl_class: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted for one group, or for several together.

    Attributes:
        hits: Reads that gave back a value or a negative.
        stale_hits: Those past their soft expiry.
        misses: Reads that did not, by reason.
        computations: Fills that were stored.
        computations_saved: Hits on computed values, and callers that waited for another's.
        saved_ms: How long those computations would have taken.
        fills_refused: Fills that were not stored.

    """

    hits: int = 0
    stale_hits: int = 0
    misses: dict[MissReason, int] = field(default_factory=dict)
    computations: int = 0
    computations_saved: int = 0
    saved_ms: int = 0
    fills_refused: int = 0

    @property
    def missed(self) -> int:
        """Return the reads that gave back nothing, for whatever reason."""
        return sum(self.misses.values())

    @property
    def reads(self) -> int:
        """Return all reads."""
        return self.hits + self.missed

    @property
    def hit_rate(self) -> float:
        """Return hits by reads, 0 to 1; 0 when there were none."""
        return self.hits / reads if (reads := self.reads) else 0.0

    def add(self, other: "Tally") -> None:
        """Take in what another one counted."""
        self.hits += other.hits
        self.stale_hits += other.stale_hits
        for reason, count in other.misses.items():
            self.misses[reason] = self.misses.get(reason, 0) + count
        self.computations += other.computations
        self.computations_saved += other.computations_saved
        self.saved_ms += other.saved_ms
        self.fills_refused += other.fills_refused


Counted = tuple[Group, Tally]


class Tallies:
    """Tallies by group, of a bounded number of groups.

    Callers choose the names of namespaces: from `max_groups` groups on, those that are new are
    counted together for each tenant, and from twice as many on for all tenants together.
    """

    __slots__ = ("_max_groups", "_tallies")

    def __init__(self, max_groups: int = MAX_GROUPS) -> None:
        self._max_groups = max_groups
        self._tallies: dict[Group, Tally] = {}

    def add(self, counted: Iterable[Counted]) -> None:
        """Take in what others have counted."""
        for group, tally in counted:
            self._of(group).add(tally)

    def drain(self) -> list[Counted]:
        """Hand over what was counted since the last time, and begin anew."""
        drained, self._tallies = self._tallies, {}
        return list(drained.items())

    def _of(self, group: Group) -> Tally:
        return self._tallies.get(group) or self._new(group)

    def _new(self, group: Group) -> Tally:
        if len(self._tallies) >= self._max_groups:
            group = Group(group.tenant, OTHER, "")
            if len(self._tallies) >= 2 * self._max_groups and group not in self._tallies:
                group = Group(OTHER, OTHER, "")
        return self._tallies.setdefault(group, Tally())


class CacheStatistics(Tallies):
    """Implements Statistics for one process."""

    __slots__ = ()

    def hit(self, name: EntryName, entry: Entry, *, stale: bool) -> None:
        # A tuple is equal to the Group of its parts and made in a third of the time.
        tally = self._tallies.get((name.tenant, name.namespace, entry.ttl_class))  # type: ignore[call-overload]
        if tally is None:
            tally = self._new(Group(name.tenant, name.namespace, entry.ttl_class))
        tally.hits += 1
        if stale:
            tally.stale_hits += 1
        if entry.compute_ms:
            tally.computations_saved += 1
            tally.saved_ms += entry.compute_ms

    def miss(self, name: EntryName, ttl_class: str, reason: MissReason) -> None:
        tally = self._of(Group(name.tenant, name.namespace, ttl_class))
        if reason is MissReason.NEGATIVE:
            tally.hits += 1  # the cache knew the answer
        else:
            tally.misses[reason] = tally.misses.get(reason, 0) + 1

    def filled(self, name: EntryName, ttl_class: str) -> None:
        self._of(Group(name.tenant, name.namespace, ttl_class)).computations += 1

    def refused(self, name: EntryName, ttl_class: str) -> None:
        self._of(Group(name.tenant, name.namespace, ttl_class)).fills_refused += 1

    def waited(self, name: EntryName, entry: Entry) -> None:
        tally = self._of(Group(name.tenant, name.namespace, entry.ttl_class))
        tally.computations_saved += 1
        tally.saved_ms += entry.compute_ms


def total(tallies: Iterable[Tally]) -> Tally:
    """Return all of them together."""
    result = Tally()
    for tally in tallies:
        result.add(tally)
    return result


def counters(tally: Tally) -> Iterator[tuple[str, int]]:
    """Yield the name and number of everything that was counted at all, as stored."""
    for name in _NUMBERS:
        if number := getattr(tally, name):
            yield name, number
    for reason, number in tally.misses.items():
        yield f"{_MISS}{reason.value}", number


def from_counters(numbers: Mapping[str, int]) -> Tally:
    """Return the tally of stored counters; names of later versions are passed over."""
    tally = Tally()
    for name in _NUMBERS:
        setattr(tally, name, numbers.get(name, 0))
    for reason in MissReason:
        if number := numbers.get(f"{_MISS}{reason.value}"):
            tally.misses[reason] = number
    return tally


_NUMBERS = (
    "hits",
    "stale_hits",
    "computations",
    "computations_saved",
    "saved_ms",
    "fills_refused",
)
_MISS = "miss_"
