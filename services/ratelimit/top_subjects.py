"""Who was limited most, with memory for some of the subjects only.

A sketch (Space-Saving: Metwally, Agrawal and El Abbadi, 2005) counts as many keys as it has
counters. A key that comes when all are taken gets the counter of the key that was counted least,
and goes on from there: it may have been counted so often before, at most. So every count is an
upper bound, each counter knows by how much it may be too high, and what has no counter was seen no
more often than the lowest of them says: with K counters at most a K-th of all that was counted.

Summaries of sketches can be added and cut short, and keep their bounds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

CAPACITY = 1_000


class Subject(NamedTuple):
    """Who was limited, by what."""

    tenant: str
    rule: str
    plan: str
    subject: str


class Count(NamedTuple):
    """How often at most, and by how much that may be too high."""

    most: int
    error: int


class Summary(NamedTuple):
    """What a sketch knows; a key that is not among the counts was seen `missing` times at most."""

    counts: Mapping[Subject, Count]
    missing: int


class Sketch:
    """Counts keys one by one, in constant time and memory."""

    __slots__ = ("_by_count", "_capacity", "_counts", "_errors", "_evicted", "_lowest")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._counts: dict[Subject, int] = {}
        self._errors: dict[Subject, int] = {}
        # The keys that have each count. The lowest count only ever grows by one, because counts do.
        self._by_count: dict[int, dict[Subject, None]] = {}
        self._lowest = 0
        self._evicted = False

    def add(self, key: Subject) -> None:
        """Count a key."""
        count = self._counts.get(key)
        if count is None:
            count = self._begin(key)
        else:
            self._leave(key, count)
        self._counts[key] = count + 1
        self._by_count.setdefault(count + 1, {})[key] = None
        if self._lowest not in self._by_count:
            self._lowest = count + 1

    def summary(self) -> Summary:
        """Return what is known by now."""
        counts = {
            key: Count(count, self._errors.get(key, 0)) for key, count in self._counts.items()
        }
        return Summary(counts, self._lowest if self._evicted else 0)

    def _begin(self, key: Subject) -> int:
        if len(self._counts) < self._capacity:
            self._lowest = 1
            return 0
        inherited = self._lowest
        evicted = next(iter(self._by_count[inherited]))
        self._leave(evicted, inherited)
        del self._counts[evicted]
        self._errors.pop(evicted, None)
        self._errors[key] = inherited
        self._evicted = True
        return inherited

    def _leave(self, key: Subject, count: int) -> None:
        keys = self._by_count[count]
        del keys[key]
        if not keys:
            del self._by_count[count]


def cut(summary: Summary, size: int) -> Summary:
    """Return the `size` highest counts; what is left out is missing from then on."""
    if len(summary.counts) <= size:
        return summary
    ranked = sorted(summary.counts.items(), key=lambda item: -item[1].most)
    return Summary(dict(ranked[:size]), max(summary.missing, ranked[size][1].most))


def merged(summaries: Iterable[Summary]) -> Summary:
    """Return what several sketches know together, each of which counted something else."""
    missing = 0
    most: Counter[Subject] = Counter()
    error: Counter[Subject] = Counter()
    for summary in summaries:
        missing += summary.missing
        for key, count in summary.counts.items():
            # Where a key has no counter it may still have been seen as often as was missed there.
            most[key] += count.most - summary.missing
            error[key] += count.error - summary.missing
    counts = {key: Count(above + missing, error[key] + missing) for key, above in most.items()}
    return Summary(counts, missing)
