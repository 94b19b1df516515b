"""Whether the memory of a process grows, judged by samples of it: pure arithmetic."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CEILING = 0.05
"""Growth after warm-up that is taken for a leak, as a share of what there was."""

WARM_UP = 0.2
"""The share of a soak in which pools, caches and the allocator may still fill up ..."""

LONGEST_WARM_UP = 300.0
"""... in seconds at most."""

EDGE = 0.1
"""The share of what comes after warm-up that is averaged at each end of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process occupied so many seconds after the load began."""

    at: float
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What the samples of one process say; bytes."""

    first: int
    warm: int
    last: int
    most: int

    @property
    def share(self) -> float:
        """Return how much more it is at the end than after warm-up."""
        return self.last / self.warm - 1

    @property
    def holds(self) -> bool:
        """Return whether it stays below the ceiling."""
        return self.share < CEILING


def growth(samples: Sequence[Sample]) -> Growth:
    """Judge the samples of one process, in the order in which they were taken.

    Medians of both ends are compared, so that one sample in the middle of a collection of garbage
    decides nothing.
    """
    if not samples:
        raise ValueError("no samples; a soak lasts longer than the time between two of them")
    end = samples[-1].at
    warmed = [each for each in samples if each.at >= min(end * WARM_UP, LONGEST_WARM_UP)]
    edge = max(1, round(len(warmed) * EDGE))
    return Growth(
        first=samples[0].bytes,
        warm=_middle(warmed[:edge]),
        last=_middle(warmed[-edge:]),
        most=max(each.bytes for each in samples),
    )


def _middle(samples: Sequence[Sample]) -> int:
    return round(statistics.median(each.bytes for each in samples))
