"""Counts and times of calls: plain numbers, put into Prometheus's form when it asks for them.

The library's own counters take a lock and several frames for every increment. Calls are counted on
the event loop, which also answers the scrape, so a number needs neither.

A bucket keeps the trace of the last recorded call in it, its exemplar, which scrapers get that ask
for OpenMetrics.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

# From half a millisecond, where a cache hit lies, to the minute of a long watch.
BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60,
)  # fmt: skip

Outcome = tuple[str, str]
"""The gRPC status of a call and the reason of its error."""

SUCCESS: Outcome = ("OK", "")

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")


class MethodTally:
    """The calls of one method that have finished."""

    __slots__ = ("by_bucket", "by_outcome", "exemplars", "seconds")

    def __init__(self) -> None:
        self.by_outcome: dict[Outcome, int] = {SUCCESS: 0}
        self.by_bucket = [0] * len(_BOUNDS)
        self.seconds = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def count(self, seconds: float, outcome: Outcome) -> None:
        """Add a call that took so long."""
        self.by_outcome[outcome] = self.by_outcome.get(outcome, 0) + 1
        self.by_bucket[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def exemplify(self, seconds: float, trace_id: str) -> None:
        """Keep a recorded call that took so long as the example of its bucket."""
        bucket = bisect_left(BUCKETS, seconds)
        self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, seconds, time.time())

    def buckets(self) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Return the cumulated buckets in the library's form."""
        cumulated = zip(_BOUNDS, accumulate(self.by_bucket), strict=True)
        for bucket, (bound, count) in enumerate(cumulated):
            exemplar = self.exemplars.get(bucket)
            yield (bound, count) if exemplar is None else (bound, count, exemplar)


class CallMetrics(Collector):
    """The calls of all methods that this process serves."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodTally] = {}
        self.in_flight = 0

    def of(self, method: str) -> MethodTally:
        """Return the tally of a method; a method that has been asked for is exported."""
        return self._methods.setdefault(method, MethodTally())

    def tallies(self) -> Iterator[tuple[str, MethodTally]]:
        """Return the tallies by method, for who compares them with what they were."""
        yield from self._methods.items()

    def collect(self) -> Iterator[Metric]:
        """Return what has been counted, in the library's form."""
        seconds = HistogramMetricFamily(
            "mainstay_rpc_server_call_duration_seconds",
            "Time from the first byte of a call to its status.",
            labels=["method"],
        )
        calls = CounterMetricFamily(
            "mainstay_rpc_server_calls",
            "Finished calls by gRPC status and error reason.",
            labels=["method", "code", "reason"],
        )
        for method, tally in self._methods.items():
            seconds.add_metric([method], list(tally.buckets()), tally.seconds)
            for outcome, count in tally.by_outcome.items():
                calls.add_metric([method, *outcome], count)
        yield seconds
        yield calls
        yield GaugeMetricFamily(
            "mainstay_rpc_server_calls_in_flight",
            "Calls being handled now that count for admission.",
            value=self.in_flight,
        )
