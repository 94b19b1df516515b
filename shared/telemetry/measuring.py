"""Measures a piece of work: a span, a histogram and a row a minute of `performance_metrics`.

    with timer("cache.sweep"):
        await sweep()

    @measured("jobs.partition")
    async def partition() -> int: ...

Names are constants of the code, such as `cache.sweep`: never made of what a caller sent. Beyond
`MAX_NAMES` of them a process counts the others as one. A measurement takes a few microseconds: too
much for what runs with every call, and calls are counted anyway (`call_metrics`).
"""

import inspect
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from itertools import accumulate
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shared.telemetry import tracing
from shared.telemetry.call_metrics import BUCKETS

MAX_NAMES = 200
OTHER = "(other)"

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")

P = ParamSpec("P")
R = TypeVar("R")


class WorkTally:
    """The work of one name that has ended; `least` and `most` are seconds since `new_minute`."""

    __slots__ = ("by_bucket", "count", "errors", "least", "most", "seconds")

    def __init__(self) -> None:
        self.by_bucket = [0] * len(_BOUNDS)
        self.count = 0
        self.errors = 0
        self.seconds = 0.0
        self.new_minute()

    def new_minute(self) -> None:
        """Look for the extremes anew."""
        self.least, self.most = float("inf"), 0.0

    def add(self, seconds: float, *, failed: bool) -> None:
        """Count work that took so long."""
        self.count += 1
        self.errors += failed
        self.seconds += seconds
        self.by_bucket[bisect_left(BUCKETS, seconds)] += 1
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)


class WorkMetrics(Collector):
    """All measured work of a process."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._tallies: dict[str, WorkTally] = {}
        self._lock = threading.Lock()  # plain functions may be measured in threads

    def count(self, name: str, seconds: float, *, failed: bool) -> None:
        """Count work that has ended."""
        with self._lock:
            self._of(name).add(seconds, failed=failed)

    def _of(self, name: str) -> WorkTally:
        tally = self._tallies.get(name)
        if tally is None:
            name = name if len(self._tallies) < self._max_names else OTHER
            tally = self._tallies.setdefault(name, WorkTally())
        return tally

    def tallies(self) -> list[tuple[str, WorkTally]]:
        """Return what was counted, by name."""
        with self._lock:
            return [*self._tallies.items()]

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, in Prometheus's form."""
        seconds = HistogramMetricFamily(
            "mainstay_measured_duration_seconds",
            "Time that measured work took, by its name in the code.",
            labels=["operation"],
        )
        errors = CounterMetricFamily(
            "mainstay_measured_errors", "Measured work that raised.", labels=["operation"]
        )
        for name, tally in self.tallies():
            buckets = list(zip(_BOUNDS, accumulate(tally.by_bucket), strict=True))
            seconds.add_metric([name], buckets, tally.seconds)
            errors.add_metric([name], tally.errors)
        yield seconds
        yield errors


work = WorkMetrics()
REGISTRY.register(work)


class timer:  # noqa: N801 - read as a word in `with timer("…"):`
    """Measures a block, of a coroutine or of a plain function, with a plain `with`.

        with timer("cache.sweep"):
            await sweep()

    What the block raises passes, and counts as an error; being cancelled does not.
    """

    __slots__ = ("_began", "_name", "_span")

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = 0.0
        self._span: AbstractContextManager[Any] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        if tracing.records():
            self._span = tracing.span(self._name)
            self._span.__enter__()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, however the block did."""
        seconds = time.perf_counter() - self._began
        work.count(self._name, seconds, failed=isinstance(error, Exception))
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)


def measured(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure every call of a function, async or plain, under a name.

        @measured("jobs.partition")
        async def partition() -> int: ...

    Raises TypeError for a generator: what its caller does in between would be measured too.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"{name} is a generator; measure with timer() what it does inside")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def measure_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with timer(name):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", measure_async)

        @wraps(function)
        def measure(*args: P.args, **kwargs: P.kwargs) -> R:
            with timer(name):
                return function(*args, **kwargs)

        return measure

    return decorate
