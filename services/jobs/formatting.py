"""From values to messages."""

from collections.abc import Iterable

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from services.jobs.event import AcceptedEvent
from services.jobs.job import (
    Cancellation,
    Compensation,
    Failure,
    Job,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from services.jobs.states import JobState
from services.jobs.wire_times import timestamp

MAX_JOB_BYTES = 4 * 1024 * 1024 - 4096
"""What fits into the 4 MiB of a message, with a token or the like beside it."""
STATES = {
    JobState.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobState.RETRYING: job_pb2.JOB_STATE_RETRYING,
    JobState.WAITING: job_pb2.JOB_STATE_WAITING,
    JobState.ROLLING_BACK: job_pb2.JOB_STATE_ROLLING_BACK,
    JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobState.DEAD_LETTERED: job_pb2.JOB_STATE_DEAD_LETTERED,
    JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
    JobState.DISCARDED: job_pb2.JOB_STATE_DISCARDED,
}
STEP_KINDS = {
    StepKind.RUN: job_pb2.STEP_KIND_RUN,
    StepKind.SLEEP: job_pb2.STEP_KIND_SLEEP,
    StepKind.EVENT: job_pb2.STEP_KIND_EVENT,
    StepKind.SIGNAL: job_pb2.STEP_KIND_SIGNAL,
    StepKind.INVOKE: job_pb2.STEP_KIND_INVOKE,
}
_COMPENSATIONS = {
    Compensation.NONE: job_pb2.COMPENSATION_STATE_UNSPECIFIED,
    Compensation.DECLARED: job_pb2.COMPENSATION_STATE_DECLARED,
    Compensation.DONE: job_pb2.COMPENSATION_STATE_DONE,
}


def accepted_events(events: Iterable[AcceptedEvent]) -> job_pb.SendEventsResponse:
    """Return the answer to SendEvents."""
    return job_pb.SendEventsResponse(
        events=[
            job_pb.AcceptedEvent(
                event_id=str(event.event_id),
                job_ids=[str(job_id) for job_id in event.job_ids],
                duplicate=event.duplicate,
            )
            for event in events
        ]
    )


def enqueued_job(accepted: AcceptedEvent) -> job_pb.EnqueueResponse:
    """Return the answer to Enqueue."""
    (job_id,) = accepted.job_ids
    return job_pb.EnqueueResponse(job_id=str(job_id), duplicate=accepted.duplicate)


def job(value: Job) -> job_pb2.Job:
    """Return a job, without what it was given where that has no room beside the rest."""
    message = _without_data(value)
    if message.ByteSize() + len(value.data.encode()) <= MAX_JOB_BYTES:
        message.data_json = value.data
    return message


def _without_data(value: Job) -> job_pb2.Job:
    return job_pb2.Job(
        job_id=str(value.job_id),
        function=value.function,
        event_id=str(value.event_id),
        event_name=value.event_name,
        state=STATES[value.state],
        revision=value.revision,
        attempt=value.attempt,
        max_attempts=value.max_attempts,
        priority=value.priority,
        version=value.version,
        parent_job_id=str(value.parent or ""),
        schedule=value.schedule,
        steps=map(_step, value.steps),
        waits=map(_wait, value.waits),
        progress=_progress(value.progress),
        result_json=value.result or "",
        failure=_failure(value.failure),
        rollback=_rollback(value.rollback),
        cancellation=_cancellation(value.cancellation),
        request_id=value.request_id,
        worker=value.worker,
        create_time=timestamp(value.create_time),
        start_time=timestamp(value.start_time),
        end_time=timestamp(value.end_time),
        ready_time=timestamp(value.ready_time),
    )


def _step(step: Step) -> job_pb2.Step:
    return job_pb2.Step(
        key=step.key,
        kind=STEP_KINDS[step.kind],
        result_json=step.result,
        attempt=step.attempt,
        end_time=timestamp(step.end_time),
        compensation=_COMPENSATIONS[step.compensation],
        compensate_time=timestamp(step.compensate_time),
    )


def _wait(wait: Wait) -> job_pb2.Wait:
    return job_pb2.Wait(
        key=wait.key,
        kind=STEP_KINDS[wait.kind],
        subject=wait.subject,
        due_time=timestamp(wait.due_time),
    )


def _progress(progress: Progress | None) -> job_pb2.Progress | None:
    if progress is None:
        return None
    return job_pb2.Progress(
        fraction=progress.fraction,
        message=progress.message,
        partial_json=progress.partial or "",
    )


def _failure(failure: Failure | None) -> job_pb2.Failure | None:
    if failure is None:
        return None
    return job_pb2.Failure(kind=failure.kind, message=failure.message, permanent=failure.permanent)


def _rollback(rollback: Rollback | None) -> job_pb2.Rollback | None:
    if rollback is None:
        return None
    return job_pb2.Rollback(
        outcome=STATES[rollback.outcome],
        attempt=rollback.attempt,
        max_attempts=rollback.max_attempts,
        failure=_failure(rollback.failure),
    )


def _cancellation(cancellation: Cancellation | None) -> job_pb2.Cancellation | None:
    if cancellation is None:
        return None
    return job_pb2.Cancellation(
        reason=cancellation.reason,
        rollback=cancellation.rollback,
        request_time=timestamp(cancellation.request_time),
    )
