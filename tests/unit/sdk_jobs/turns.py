"""Turns at one function, each with what is stored so far."""

import asyncio
import json

from mainstay.jobs import StepKind
from mainstay.jobs.assignment import AssignedJob, Outcome, Succeeded
from mainstay.jobs.execution import Execution
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.registry import Registry
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.recorded_reports import (
    SETTLE_SECONDS,
    RecordedReports,
    SentEvents,
    StillClock,
    assigned_job,
    step_calls,
)


class Turns:
    """Runs turns of one function, each with what is stored so far."""

    def __init__(self, handler: Handler) -> None:
        self.reports = RecordedReports()
        self.clock = StillClock()
        self.events = SentEvents()
        self.memo: dict[str, str] = {}
        registry = Registry()
        registry.add(Function(name="process-video", handler=handler))
        self._execution = Execution(
            registry, step_calls(self.clock), self.events, settle_seconds=SETTLE_SECONDS
        )

    async def run(self, **come: object) -> Outcome:
        """Run a turn, in which the steps named have a result: what they have waited for."""
        self.memo |= {key: json.dumps(value) for key, value in come.items()}
        kinds = {wait.key: kind_of(wait) for wait in self.reports.waits}
        return await self._run(assigned_job(memo=self.memo, kinds=kinds))

    async def run_for(self, seconds: float, *, rollback: tuple[str, ...] | None = None) -> Outcome:
        """Run a turn that may take so long."""
        return await self._run(assigned_job(memo=self.memo, timeout=seconds, rollback=rollback))

    async def roll_back(self, *keys: str) -> Outcome:
        """Run a turn that undoes these steps, or all that can be, the last one first."""
        undone = keys or tuple(reversed(self.reports.compensable))
        return await self._run(assigned_job(memo=self.memo, rollback=undone))

    async def _run(self, job: AssignedJob) -> Outcome:
        async with asyncio.timeout(10):
            outcome = await self._execution(job, self.reports)
        self.memo |= dict(self.reports.steps)
        return outcome


def kind_of(wait: pb.WaitBegun) -> StepKind:
    """Return what kind of step waits so."""
    return StepKind[str(wait.WhichOneof("wait")).upper()]


def result(outcome: Outcome) -> object:
    """Return what the function returned."""
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.result_json)
