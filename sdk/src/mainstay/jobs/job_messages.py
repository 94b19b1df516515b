"""Between the messages about jobs and the values that callers see."""

from mainstay.jobs.conversions import by_number, decoded, refused, time_of, timestamp, utc
from mainstay.jobs.model import (
    AcceptedEvent,
    Cancellation,
    Failure,
    Job,
    JobFilter,
    JobState,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb

_STATES = by_number(job_pb2.JobState, "JOB_STATE_", JobState)
_WIRE_STATES = {
    state: job_pb2.JobState.Value(f"JOB_STATE_{state.name}") for state in _STATES.values()
}
_KINDS = {
    job_pb2.STEP_KIND_UNSPECIFIED: StepKind.RUN,
    **by_number(job_pb2.StepKind, "STEP_KIND_", StepKind),
}


def filter_message(wanted: JobFilter | None) -> pb.JobFilter:
    """Return a filter for the wire; None fits all."""
    wanted = wanted or JobFilter()
    if unknown := wanted.states - _WIRE_STATES.keys():
        names = ", ".join(sorted(state.value for state in unknown))
        raise refused("filter.states", f"has {names}, which nothing can be looked for by")
    return pb.JobFilter(
        states=sorted(_WIRE_STATES[state] for state in wanted.states),
        function=wanted.function,
        event_id=wanted.event_id,
        request_id=wanted.request_id,
        create_time_from=timestamp(wanted.since, "filter.since"),
        create_time_to=timestamp(wanted.until, "filter.until"),
        failure_kind=wanted.failure_kind,
    )


def parse_accepted(event: pb.AcceptedEvent) -> AcceptedEvent:
    """Return the wire's accepted event as ours."""
    return AcceptedEvent(
        event_id=event.event_id, job_ids=tuple(event.job_ids), duplicate=event.duplicate
    )


def parse_job(job: job_pb2.Job) -> Job:
    """Return the wire's job as ours."""
    return Job(
        job_id=job.job_id,
        function=job.function,
        event_id=job.event_id,
        state=_STATES.get(job.state, JobState.UNKNOWN),
        revision=job.revision,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        steps=tuple(_step(step) for step in job.steps),
        progress=_progress(job),
        result=decoded(job.result_json),
        failure=_failure(job.failure) if job.HasField("failure") else None,
        request_id=job.request_id,
        worker=job.worker,
        create_time=utc(job.create_time),
        start_time=time_of(job, "start_time"),
        end_time=time_of(job, "end_time"),
        ready_time=time_of(job, "ready_time"),
        waits=tuple(_wait(wait) for wait in job.waits),
        rollback=_rollback(job),
        cancellation=_cancellation(job),
        priority=job.priority,
        parent_job_id=job.parent_job_id,
        version=job.version,
        schedule=job.schedule,
        event_name=job.event_name,
        data=decoded(job.data_json),
    )


def step_kind(number: int) -> StepKind:
    """Return the wire's kind of a step as ours."""
    return _KINDS.get(number, StepKind.UNKNOWN)


def _step(step: job_pb2.Step) -> Step:
    return Step(
        key=step.key,
        result=decoded(step.result_json),
        attempt=step.attempt,
        end_time=utc(step.end_time),
        kind=step_kind(step.kind),
        compensable=step.compensation != job_pb2.COMPENSATION_STATE_UNSPECIFIED,
        compensate_time=time_of(step, "compensate_time"),
    )


def _wait(wait: job_pb2.Wait) -> Wait:
    return Wait(
        key=wait.key,
        kind=step_kind(wait.kind),
        subject=wait.subject,
        due_time=time_of(wait, "due_time"),
    )


def _progress(job: job_pb2.Job) -> Progress | None:
    if not job.HasField("progress"):
        return None
    progress = job.progress
    return Progress(
        fraction=progress.fraction,
        message=progress.message,
        partial=decoded(progress.partial_json),
    )


def _failure(failure: job_pb2.Failure) -> Failure:
    return Failure(kind=failure.kind, message=failure.message, permanent=failure.permanent)


def _rollback(job: job_pb2.Job) -> Rollback | None:
    if not job.HasField("rollback"):
        return None
    rollback = job.rollback
    return Rollback(
        outcome=_STATES.get(rollback.outcome, JobState.UNKNOWN),
        attempt=rollback.attempt,
        max_attempts=rollback.max_attempts,
        failure=_failure(rollback.failure) if rollback.HasField("failure") else None,
    )


def _cancellation(job: job_pb2.Job) -> Cancellation | None:
    if not job.HasField("cancellation"):
        return None
    cancellation = job.cancellation
    return Cancellation(
        reason=cancellation.reason,
        rollback=cancellation.rollback,
        request_time=utc(cancellation.request_time),
    )
