"""Performance by the minute: rows of `telemetry.performance_metrics` out of what is counted anyway.

Once a minute the histograms that Prometheus reads are compared with what they were a minute ago.
So no call pays for its row, and percentiles are interpolated within a bucket.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.postgres.copying import BatchTable
from shared.telemetry.call_metrics import BUCKETS, SUCCESS, CallMetrics, MethodTally
from shared.telemetry.measuring import WorkMetrics, WorkTally

MINUTE = 60.0
DAY = 1_440
_EDGES = (0.0, *BUCKETS)

TABLE = BatchTable(
    name="telemetry.performance_metrics",
    columns={
        "minute": "timestamptz",
        "service": "text",
        "instance": "text",
        "kind": "text",
        "name": "text",
        "count": "bigint",
        "errors": "bigint",
        "total_ms": "double precision",
        "min_ms": "double precision",
        "max_ms": "double precision",
        "p50_ms": "double precision",
        "p95_ms": "double precision",
        "p99_ms": "double precision",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What had been counted under a name at some time."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    by_bucket: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)

    def since(self, earlier: "Counts") -> "Counts":
        """Return what has been counted since."""
        return Counts(
            count=self.count - earlier.count,
            errors=self.errors - earlier.errors,
            seconds=self.seconds - earlier.seconds,
            by_bucket=tuple(
                now - then for now, then in zip(self.by_bucket, earlier.by_bucket, strict=True)
            ),
        )


class Performed(NamedTuple):
    """The facts of a row: what was done under a name within a minute; durations in seconds."""

    minute: float
    kind: str
    name: str
    counts: Counts
    least: float
    most: float


class Performance:
    """Closes the minutes of a process; what was counted before it was made counts for none.

    `unseen` are methods that nobody looks for here, such as health checks.
    """

    def __init__(
        self,
        calls: CallMetrics,
        work: WorkMetrics,
        add: Callable[[Performed], None],
        *,
        unseen: Container[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._calls = calls
        self._work = work
        self._add = add
        self._unseen = unseen
        self._clock = clock
        self._closed: deque[float] = deque(maxlen=DAY)
        self._before = {(kind, name): counts for kind, name, counts, _ in self._counted()}

    async def run(self) -> None:
        """Close each minute when it is over. For a background task."""
        while True:
            minute = self._minute()
            await asyncio.sleep(minute + MINUTE - self._clock())
            self.close(minute)

    def close_current(self) -> None:
        """Close the minute that has not ended; for a process that will not see its end."""
        self.close(self._minute())

    def _minute(self) -> float:
        return self._clock() // MINUTE * MINUTE

    def close(self, minute: float) -> None:
        """Make the rows of a minute, given by its beginning in seconds since 1970.

        One that was closed already has its rows, and none beside them: what comes in it once more,
        after a timer that was early or a clock that was set back, counts for the next.
        """
        if minute in self._closed:
            return
        self._closed.append(minute)
        for kind, name, counts, tally in self._counted():
            now = counts.since(self._before.get((kind, name), Counts()))
            if now.count == 0 or name in self._unseen:
                continue
            self._before[kind, name] = counts
            least, most = extremes(now) if tally is None else (tally.least, tally.most)
            self._add(Performed(minute, kind, name, now, least, most))
            if tally is not None:
                tally.new_minute()

    def _counted(self) -> Iterator[tuple[str, str, Counts, WorkTally | None]]:
        for method, tally in self._calls.tallies():
            yield "rpc", method, counts_of_calls(tally), None
        for name, done in self._work.tallies():
            yield "measured", name, counts_of_work(done), done


def counts_of_calls(tally: MethodTally) -> Counts:
    """Return what was counted of a method."""
    count = sum(tally.by_outcome.values())
    return Counts(
        count=count,
        errors=count - tally.by_outcome[SUCCESS],
        seconds=tally.seconds,
        by_bucket=tuple(tally.by_bucket),
    )


def counts_of_work(tally: WorkTally) -> Counts:
    """Return what was counted of measured work."""
    return Counts(
        count=tally.count,
        errors=tally.errors,
        seconds=tally.seconds,
        by_bucket=tuple(tally.by_bucket),
    )


def extremes(counts: Counts) -> tuple[float, float]:
    """Return what the shortest duration was at least, and the longest at most, in seconds.

    Of what took longer than the last bound nothing more is known.
    """
    used = [number for number, count in enumerate(counts.by_bucket) if count]
    return _EDGES[used[0]], _EDGES[min(used[-1] + 1, len(_EDGES) - 1)]


def percentile(done: Performed, percent: float) -> float:
    """Return the duration, in seconds, that `percent` of the work did not exceed.

    Within a bucket durations are taken to lie evenly between its bounds.
    """
    wanted = done.counts.count * percent / 100
    below = 0
    for number, count in enumerate(done.counts.by_bucket):
        if count and below + count >= wanted:
            low = max(_EDGES[number], done.least)
            high = min(_EDGES[min(number + 1, len(_EDGES) - 1)], done.most)
            return low + max(0.0, high - low) * (wanted - below) / count
        below += count
    return done.most


def performance_row(service: str, instance: str) -> Callable[[Performed], tuple[Any, ...]]:
    """Return what makes a row of a minute of this instance."""

    def make(done: Performed) -> tuple[Any, ...]:
        counts = done.counts
        seconds = (
            counts.seconds,
            done.least,
            done.most,
            *(percentile(done, percent) for percent in (50, 95, 99)),
        )
        return (
            datetime.fromtimestamp(done.minute, UTC),
            service,
            instance,
            done.kind,
            done.name,
            counts.count,
            counts.errors,
            *(each * 1000 for each in seconds),
        )

    return make
