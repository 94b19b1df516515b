"""Runs one attempt: handler in, outcome out."""

import logging
import time

from mainstay import context
from mainstay.errors import MainstayError
from mainstay.jobs.assignment import AssignedJob, Failed, Outcome, Reporter, Succeeded, wire_wait
from mainstay.jobs.errors import NonRetryableError, RetryAfterError
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.json_text import encode_result
from mainstay.jobs.registry import Registry
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.tracing import job_span, record_failure

log = logging.getLogger("mainstay.worker")


class Execution:
    """Runs jobs by the functions of a registry, as part of the request that caused them.

    Their steps that are plain functions run in `threads`.
    """

    def __init__(self, registry: Registry, threads: StepThreads) -> None:
        self._registry = registry
        self._threads = threads

    async def __call__(self, job: AssignedJob, reporter: Reporter) -> Outcome:
        """Run one attempt to its outcome; a cancellation goes through."""
        request = context.RequestContext(
            request_id=job.request_id, tenant=job.tenant, traceparent=job.traceparent or None
        )
        with context.use(request), job_span(job):
            began = time.monotonic()
            _log(logging.INFO, "job started", job)
            try:
                outcome: Outcome = await self._run(job, reporter)
            except Exception as error:  # noqa: BLE001 - whatever a function raises fails its job
                record_failure(error)
                outcome = failure_of(error)
                event = f"job failed ({outcome.kind}: {outcome.message}), {_fate(outcome, job)}"
                _log(logging.WARNING, event, job, began, error)
            except BaseException:
                _log(logging.WARNING, "job cancelled", job, began)
                raise
            else:
                _log(logging.INFO, "job succeeded", job, began)
        return outcome

    async def _run(self, job: AssignedJob, reporter: Reporter) -> Succeeded:
        function = self._registry.get(job.function)
        if function is None:
            raise LookupError(f"this worker has no function {job.function}; deploy one that has")
        result = await function.handler(JobContext.begin(job, reporter, self._threads))
        return Succeeded(result_json=encode_result(result, of=f"function {job.function}"))


def failure_of(error: Exception) -> Failed:
    """Return how an exception that left a function ends the attempt."""
    match error:
        case NonRetryableError():
            permanent, retry_after = True, None
        case RetryAfterError():
            permanent, retry_after = False, error.seconds
        case MainstayError():
            # A service that was called named the time when it can be called again.
            permanent, retry_after = False, error.retry_after
        case _:
            permanent, retry_after = False, None
    return Failed(
        kind=type(error).__name__,
        message=str(error),
        permanent=permanent,
        retry_after=wire_wait(retry_after),
    )


def _fate(failed: Failed, job: AssignedJob) -> str:
    if failed.permanent:
        return "which no retry can help"
    if job.attempt >= job.max_attempts:
        return "and that was the last attempt"
    return "to be tried again"


def _log(
    level: int,
    event: str,
    job: AssignedJob,
    began: float | None = None,
    error: Exception | None = None,
) -> None:
    fields: dict[str, str | int | float] = {**job.log_fields()}
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
