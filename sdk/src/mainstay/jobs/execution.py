"""Runs one turn at a job: handler in, outcome out."""

import asyncio
import logging
import time
from typing import Any, TypeAlias

from mainstay import context
from mainstay.jobs.assignment import (
    AssignedJob,
    Failed,
    Outcome,
    Reporter,
    Succeeded,
    Suspended,
)
from mainstay.jobs.failure import failure_of
from mainstay.jobs.function import Function
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.json_text import encode_result
from mainstay.jobs.registry import Registry
from mainstay.jobs.rollback import RollbackTurn, roll_back
from mainstay.jobs.step_calls import StepCalls
from mainstay.jobs.steps import EventSender, Steps
from mainstay.jobs.tracing import job_span, record_failure
from mainstay.jobs.turn import SETTLE_SECONDS, ForwardTurn, Turn

log = logging.getLogger("mainstay.worker")

TIMED_OUT = "TimedOut"

_Fields: TypeAlias = dict[str, str | int | float]


class Execution:
    """Runs jobs by the functions of a registry, as part of the request that caused them.

    `calls` runs their steps and `events` sends what they send. A function that waits, and of which
    nothing has moved for `settle_seconds`, is suspended.
    """

    def __init__(
        self,
        registry: Registry,
        calls: StepCalls,
        events: EventSender,
        *,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._registry = registry
        self._calls = calls
        self._events = events
        self._settle_seconds = settle_seconds

    async def __call__(self, job: AssignedJob, reporter: Reporter) -> Outcome:
        """Run one turn to its outcome; a cancellation goes through."""
        request = context.RequestContext(
            request_id=job.request_id, tenant=job.tenant, traceparent=job.traceparent or None
        )
        with context.use(request), job_span(job):
            began = time.monotonic()
            doing = "started" if job.rollback is None else "rollback started"
            _log(logging.INFO, f"job {doing}", job)
            cause: Exception | SystemExit | None = None
            try:
                outcome = await self._run(job, reporter)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises fails the job
                outcome, cause = failure_of(error), error
            except BaseException:
                _log(logging.WARNING, "job cancelled", job, began)
                raise
            _log_end(job, outcome, began, cause)
        return outcome

    async def _run(self, job: AssignedJob, reporter: Reporter) -> Outcome:
        function = self._registry.get(job.function)
        if function is None:
            raise LookupError(f"this worker has no function {job.function}; deploy one that has")
        limit = asyncio.timeout(job.timeout)
        try:
            async with limit:
                if job.rollback is not None:
                    return await self._undo(job, reporter, function)
                outcome = await self._go_on(job, reporter, function, limit)
        except TimeoutError:
            if not limit.expired():
                raise
        else:
            if not limit.expired():
                return outcome
            # Else the function took its cancellation for something that it may survive.
        return Failed(kind=TIMED_OUT, message=f"this turn took longer than {job.timeout:g} s")

    async def _go_on(
        self, job: AssignedJob, reporter: Reporter, function: Function, limit: asyncio.Timeout
    ) -> Outcome:
        turn = ForwardTurn(job, reporter, limit, settle_seconds=self._settle_seconds)
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            result = await self._call(job, turn, function)
        except BaseException:
            # However the function took its cancellation: it was suspended, unless it was to end
            # for another reason as well.
            if task is None or not turn.suspended or task.uncancel() > before:
                raise
            return Suspended(keys=turn.suspended)
        finally:
            turn.close()
        if turn.suspended and task is not None:
            if task.uncancel() > before:
                raise asyncio.CancelledError(f"this attempt of job {job.job_id} is over")
            return Suspended(keys=turn.suspended)
        return Succeeded(result_json=encode_result(result, of=f"function {job.function}"))

    async def _undo(self, job: AssignedJob, reporter: Reporter, function: Function) -> Outcome:
        turn = RollbackTurn(job, reporter, settle_seconds=self._settle_seconds)
        return await roll_back(job, reporter, turn, lambda: self._call(job, turn, function))

    async def _call(self, job: AssignedJob, turn: Turn, function: Function) -> Any:
        steps = Steps(job, turn, self._calls, self._events)
        return await function.call(JobContext.begin(job, turn, steps))


def _log_end(
    job: AssignedJob, outcome: Outcome, began: float, cause: Exception | SystemExit | None
) -> None:
    what = "job" if job.rollback is None else "rollback of job"
    match outcome:
        case Failed():
            if cause is not None:
                record_failure(cause)
            event = f"{what} failed ({outcome.kind}: {outcome.message}), {_fate(outcome, job)}"
            _log(logging.WARNING, event, job, began, cause)
        case Suspended(keys=keys):
            _log(logging.INFO, f"job suspended until {' or '.join(keys)}", job, began)
        case _:
            _log(logging.INFO, f"{what} succeeded", job, began)


def _fate(failed: Failed, job: AssignedJob) -> str:
    if failed.permanent:
        return "which no retry can help"
    if job.rollback is None and job.attempt >= job.max_attempts:
        return "and that was the last attempt"
    return "to be tried again"


def _log(
    level: int,
    event: str,
    job: AssignedJob,
    began: float | None = None,
    error: BaseException | None = None,
) -> None:
    if not log.isEnabledFor(level):
        return
    fields: _Fields = {**job.log_fields()}
    if began is not None:
        fields["seconds"] = round(time.monotonic() - began, 6)
    log.log(
        level,
        "%s: %s attempt %d of %d job_id=%s request_id=%s",
        event,
        job.function,
        job.attempt,
        job.max_attempts,
        job.job_id,
        job.request_id,
        exc_info=error,
        extra=fields,
    )
