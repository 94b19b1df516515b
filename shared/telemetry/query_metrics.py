"""How long queries take, by name; and which of them have become slow.

Plain numbers, for the reason that `call_metrics` gives. Names come from files, so there are as many
as there are queries; what stands in no file is one name together.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shared.telemetry.call_metrics import BUCKETS

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")


class _Tally:
    """The runs of one query."""

    __slots__ = ("by_bucket", "seconds")

    def __init__(self) -> None:
        self.by_bucket = [0] * len(_BOUNDS)
        self.seconds = 0.0


class QueryMetrics(Collector):
    """All queries of this process."""

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}

    def observe(self, name: str, seconds: float) -> None:
        """Add a run that took so long."""
        tally = self._tallies.get(name)
        if tally is None:
            tally = self._tallies[name] = _Tally()
        tally.by_bucket[bisect_left(BUCKETS, seconds)] += 1
        tally.seconds += seconds

    def counts(self) -> dict[str, tuple[int, ...]]:
        """Return the runs of each query by bucket, as they are now."""
        return {name: tuple(tally.by_bucket) for name, tally in self._tallies.items()}

    def collect(self) -> Iterator[Metric]:
        """Return what has been measured, in the library's form."""
        family = HistogramMetricFamily(
            "mainstay_postgres_query_duration_seconds",
            "Time from sending a query to its last row, by the query's name.",
            labels=["query"],
        )
        for name, tally in self._tallies.items():
            buckets = list(zip(_BOUNDS, accumulate(tally.by_bucket), strict=True))
            family.add_metric([name], buckets, tally.seconds)
        yield family


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowQuery:
    """A query of which more than one in twenty took longer than the limit; `p95` in seconds."""

    name: str
    p95: float
    count: int


def slow_queries(
    before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]], *, limit: float
) -> list[SlowQuery]:
    """Return what was slow between two looks at the counts; `limit` is in seconds, a bucket's."""
    found = []
    for name, now in after.items():
        then = before.get(name, (0,) * len(now))
        counts = [new - old for new, old in zip(now, then, strict=True)]
        p95 = quantile(counts, 0.95)
        if p95 > limit:
            found.append(SlowQuery(name=name, p95=p95, count=sum(counts)))
    return found


def quantile(counts: list[int], share: float) -> float:
    """Return the duration that `share` of the runs stay below, as Prometheus reads it off buckets.

    Within a bucket runs are taken to be spread evenly; beyond the last, it is the last bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return 0.0
    below = 0
    for (low, high), count in zip(pairwise((0.0, *BUCKETS)), counts, strict=False):
        if count and below + count >= wanted:
            return low + (high - low) * (wanted - below) / count
        below += count
    return float(BUCKETS[-1])
