"""What the service writes down of jobs: log lines, metrics and spans under the job's own request.

A job is claimed and ended by calls that have nothing to do with the call that sent its event. Each
line and span names the request id and the trace of the latter: one search finds the whole story.
"""

from collections import Counter
from collections.abc import Iterable

from services.jobs import metrics
from services.jobs.endings import Ending, Success
from services.jobs.job import Assignment
from services.jobs.ports import ShedJob
from services.jobs.states import JobState
from services.jobs.timer_ports import NOT_STARTED, UnstartedJob
from shared.telemetry.event_lines import note_line
from shared.telemetry.tracing import record_moment

Facts = dict[str, str | int | float | bool]


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
        record_moment("jobs.claim", facts, job.traceparent)
        note_line(
            "job_claimed",
            {
                **facts,
                "waited_ms": round(job.waited * 1000, 3),
                "session": str(job.session_id)[:8],
                "tenant": job.tenant,
                "request_id": job.request_id,
                "trace_id": _trace_id(job.traceparent),
            },
        )


def note_successes(successes: Iterable[Success]) -> None:
    """Write down that turns ended well."""
    counts = Counter[str]()
    for success in successes:
        counts[success.function] += 1
        facts: Facts = {
            "job_id": str(success.job_id),
            "function": success.function,
            "attempt": success.attempt,
            "state": "succeeded",
        }
        record_moment("jobs.end_attempt", facts, success.traceparent)
        note_line(
            "job_attempt_ended",
            {
                **facts,
                "worker": success.worker,
                "tenant": success.tenant,
                "request_id": success.request_id,
                "trace_id": _trace_id(success.traceparent),
            },
        )
    for function, number in counts.items():
        metrics.ended.labels(metrics.functions.of(function), JobState.SUCCEEDED.value).inc(number)


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
        failure = ending.failure or ending.rollback_failure
        record_moment("jobs.end_attempt", facts, lease.traceparent)
        note_line(
            "job_attempt_ended",
            {
                **facts,
                "worker": lease.worker,
                "failure": failure.kind if failure else None,
                "retry_in_s": None if ending.wait is None else round(ending.wait, 3),
                "tenant": lease.tenant,
                "request_id": lease.request_id,
                "trace_id": _trace_id(lease.traceparent),
            },
        )


def note_shed(jobs: Iterable[ShedJob]) -> None:
    """Write down that jobs had to give way in full queues."""
    for job in jobs:
        metrics.shed.labels(metrics.functions.of(job.function)).inc()
        note_line(
            "job_shed",
            {
                "job_id": str(job.job_id),
                "function": job.function,
                "tenant": job.tenant,
                "request_id": job.request_id,
                "trace_id": _trace_id(job.traceparent),
            },
        )


def note_unstarted(jobs: Iterable[UnstartedJob]) -> None:
    """Write down that jobs became dead letters before anybody had begun them."""
    for job in jobs:
        facts: Facts = {
            "job_id": str(job.job_id),
            "function": job.function,
            "state": JobState.DEAD_LETTERED.value,
        }
        record_moment("jobs.give_up", facts, job.traceparent)
        note_line(
            "job_not_started",
            {
                **facts,
                "failure": NOT_STARTED.kind,
                "tenant": job.tenant,
                "request_id": job.request_id,
                "trace_id": _trace_id(job.traceparent),
            },
        )


def _trace_id(traceparent: str) -> str:
    """Return the trace id of a W3C header, or nothing."""
    return traceparent[3:35]
