"""Records how targets were: sums by the minute, and incidents. Nobody waits for it.

What is not written yet is kept here, `MAX_ROWS` minutes of targets at most (three hours of thirty
targets), so that PostgreSQL may be away for as long; what is beyond is dropped, the oldest first,
and counted by a metric.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol
from uuid import uuid4

import structlog

from services.health.causes import explain
from services.health.database import FAILURES, FAREWELL, LONGEST_RUN, REFUSED
from services.health.history import Incident
from services.health.history_metrics import rows_dropped, rows_waiting
from services.health.incidents import IncidentLog
from services.health.minutes import MINUTE, Held, Minutes
from services.health.postgres_records import Batch
from services.health.prober import utc_now
from services.health.rollup import Check, Report
from services.health.state import Observation, State
from services.health.target import SUITE

MAX_ROWS = 5_400
MAX_INCIDENTS = 500
LONGEST_LOOK = 5.0
"""Seconds without a look after which nobody knows how targets were in between."""
LONGEST_BACKOFF = 60.0

_BATCH = 500
_EVERY = 1.0
_SETTLED = (2.0, 10.0)  # seconds into a minute at which the one before is written

log = structlog.get_logger()


class Records(Protocol):
    """Keeps what an observer saw. Raises DatabaseError."""

    async def write(
        self,
        batch: Batch | None,
        incidents: Sequence[Incident],
        well: Mapping[str, datetime],
        *,
        within: float = LONGEST_RUN,
    ) -> None:
        """Add minutes, once per id; tell incidents; end those of targets that are well."""
        ...


class Recorder:
    """A resource; `noticed` and `changed` are to be called by the prober and by `Changes`.

    Its time is that of the monotonic clock: what passed while the machine slept, or the process
    stood still, is in no state.
    """

    name = "recorder"

    def __init__(
        self,
        records: Records,
        report: Callable[[], Report],
        *,
        service_of: Callable[[str], str],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
        max_rows: int = MAX_ROWS,
        max_incidents: int = MAX_INCIDENTS,
    ) -> None:
        self._records = records
        self._report = report
        self._service_of = service_of
        self._monotonic = monotonic
        self._wall = wall
        self._minutes = Minutes(max_rows)
        self._incidents = IncidentLog(lambda: str(uuid4()), capacity=max_incidents)
        self._well: Mapping[str, datetime] = {}
        self._held: dict[str, Held] = {}
        self._looked = monotonic()
        self._batch: Batch | None = None
        self._reachable = False
        self._begun = False
        self._news = asyncio.Event()

    def noticed(self, seen: Observation | None) -> None:
        """Count a probe; of a replica it is one of its service."""
        if seen is not None:
            self._minutes.observe(
                self._service_of(seen.target),
                seen.time.timestamp(),
                latency=seen.latency,
                failed=seen.state is State.UNHEALTHY,
            )

    def changed(self, before: Report, after: Report) -> None:  # noqa: ARG002 - a listener
        """Take a report that reads differently from the one before.

        Not before the first round of probes is over: until then a part is unknown, and the whole
        looks degraded for it.
        """
        if self._begun:
            self._see(after)

    def look(self) -> None:
        """Look how targets are now."""
        self._begun = True
        self._see(self._report())

    async def start(self) -> None:
        """Begin with what the first round of probes has found."""
        self.look()

    async def close(self) -> None:
        """Write what is left, if PostgreSQL is there."""
        self.look()
        if self._reachable:
            with suppress(*FAILURES):
                await self.write_once(everything=True, within=FAREWELL)
        elif len(self._minutes):
            log.warning("history_lost", rows=len(self._minutes))

    async def run(self) -> None:
        """Look every second and write every minute, and at once what is urgent. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_every_second(), name="look")
            tasks.create_task(self._write_again_and_again(), name="write history")

    async def write_once(self, *, everything: bool = False, within: float = LONGEST_RUN) -> None:
        """Write incidents, and the minutes that are over, or all; raises DatabaseError.

        A minute that is not over would be written again and again.
        """
        self._news.clear()
        before = int(self._wall().timestamp() // MINUTE) + everything
        while True:
            self._take(before)
            incidents = self._incidents.unwritten
            try:
                await self._records.write(self._batch, incidents, self._well, within=within)
            except REFUSED:
                ended = [each for each in incidents if each.end_time is not None]
                rows_dropped.inc(len(ended) + (len(self._batch.rows) if self._batch else 0))
                self._forget(incidents)
                raise
            self._forget(incidents)
            if not self._take(before):
                return

    def _take(self, before: int) -> bool:
        """Make the next batch, unless there is one; returns whether there is one now."""
        if self._batch is None and (rows := self._minutes.take(before, _BATCH)):
            self._batch = Batch(batch_id=uuid4(), rows=rows)
        return self._batch is not None

    def _forget(self, incidents: Sequence[Incident]) -> None:
        self._batch = None
        self._incidents.settle(incidents)

    def _see(self, report: Report) -> None:
        """Let the states that held since the last look end now, and begin those of a report."""
        now, wall = self._monotonic(), self._wall()
        passed, self._looked = now - self._looked, now
        if 0 < passed <= LONGEST_LOOK:
            end = wall.timestamp()
            for target, held in self._held.items():
                self._minutes.spend(target, held, end - passed, end)
        self._held = states_of(report)
        self._well = {
            name: self._well.get(name, wall)
            for name, held in self._held.items()
            if held.state is State.HEALTHY
        }
        news = [self._incidents.see(name, held, wall) for name, held in self._held.items()]
        if self._incidents.keep(self._held.keys(), wall) or any(news):
            self._news.set()
        self._count()

    def _count(self) -> None:
        rows_dropped.inc(self._minutes.dropped + self._incidents.dropped)
        self._minutes.dropped = self._incidents.dropped = 0
        rows_waiting.set(len(self._minutes))

    async def _look_every_second(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self.look()

    async def _write_again_and_again(self) -> None:
        backoff = 1.0
        while True:
            try:
                await self.write_once()
                backoff, self._reachable = 1.0, True
                await self._until_there_is_something()
            except FAILURES as error:
                if self._reachable:
                    log.warning("history_not_written", error=str(error))
                self._reachable = False
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311
                backoff = min(backoff * 2, LONGEST_BACKOFF)

    async def _until_there_is_something(self) -> None:
        rest = MINUTE - self._wall().timestamp() % MINUTE
        with suppress(TimeoutError):
            async with asyncio.timeout(rest + random.uniform(*_SETTLED)):  # noqa: S311
                await self._news.wait()


def states_of(report: Report) -> dict[str, Held]:
    """Return the state of every target of a report, and of the whole."""
    found = {check.target.name: _held_by(check) for check in report.checks}
    found[SUITE] = _held_by_the_whole(report)
    return found


def _held_by(check: Check) -> Held:
    because = check.because or (check.target.name,)
    return Held(check.state, check.message, check.found_by, because)


def _held_by_the_whole(report: Report) -> Held:
    if report.state is State.HEALTHY:
        return Held(State.HEALTHY)
    why = explain(report, SUITE)
    assert why is not None, "the whole can always be explained"
    roots = why.root_causes
    return Held(
        report.state,
        why.summary,
        roots[0].found_by if roots else "",
        tuple(root.target.name for root in roots),
    )
