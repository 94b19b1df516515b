"""What the service writes down of jobs: log lines, metrics and spans under the job's own request.

A job is claimed and ended by calls that have nothing to do with the call that sent its event. Each
line and span names the request id and the trace of the latter: one search finds the whole story.
"""

from collections.abc import Iterable

import structlog

from services.jobs import metrics
from services.jobs.endings import Ending
from services.jobs.job import Assignment
from shared.telemetry.tracing import extract, span

Facts = dict[str, str | int | float | bool]

log = structlog.get_logger()


def note_claims(assignments: Iterable[Assignment]) -> None:
    """Write down that jobs were handed to workers."""
    for job in assignments:
        label = metrics.functions.of(job.function)
        metrics.claimed.labels(label).inc()
        metrics.wait_seconds.labels(label).observe(job.waited)
        facts: Facts = {
            "job_id": str(job.job_id),
            "function": job.function,
            "attempt": job.attempt,
        }
        with span("jobs.claim", attributes=facts, parent=extract(job.traceparent)):
            log.info(
                "job_claimed",
                **facts,
                waited_ms=round(job.waited * 1000, 3),
                session=str(job.session_id)[:8],
                tenant=job.tenant,
                request_id=job.request_id,
                trace_id=_trace_id(job.traceparent),
            )


def note_endings(ended: Iterable[Ending]) -> None:
    """Write down how turns ended."""
    for ending in ended:
        lease, state = ending.lease, ending.state.value
        metrics.ended.labels(metrics.functions.of(lease.function), state).inc()
        facts: Facts = {
            "job_id": str(lease.job_id),
            "function": lease.function,
            "attempt": lease.attempts.begun,
            "state": state,
        }
        with span("jobs.end_attempt", attributes=facts, parent=extract(lease.traceparent)):
            log.info(
                "job_attempt_ended",
                **facts,
                worker=lease.worker,
                failure=ending.failure.kind if ending.failure else None,
                retry_in_s=round(ending.wait, 3),
                tenant=lease.tenant,
                request_id=lease.request_id,
                trace_id=_trace_id(lease.traceparent),
            )


def _trace_id(traceparent: str) -> str:
    """Return the trace id of a W3C header, or nothing."""
    return traceparent[3:35]
