"""Events and jobs as their senders and watchers see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.jobs.json_text import JsonValue, decode
from mainstay.jobs.v1 import job_service_pb2 as pb


class JobState(Enum):
    """Where a job stands."""

    UNKNOWN = "unknown"
    """A state that this release of the SDK does not know; not an end."""
    QUEUED = "queued"
    """Waits for its first attempt."""
    RUNNING = "running"
    """A worker has it."""
    RETRYING = "retrying"
    """An attempt failed or its worker was lost; waits for the next attempt."""
    SUCCEEDED = "succeeded"
    """Ended well."""
    DEAD_LETTERED = "dead_lettered"
    """Ended badly; kept for inspection."""

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return self in {JobState.SUCCEEDED, JobState.DEAD_LETTERED}


_STATES = {
    pb.JOB_STATE_QUEUED: JobState.QUEUED,
    pb.JOB_STATE_RUNNING: JobState.RUNNING,
    pb.JOB_STATE_RETRYING: JobState.RETRYING,
    pb.JOB_STATE_SUCCEEDED: JobState.SUCCEEDED,
    pb.JOB_STATE_DEAD_LETTERED: JobState.DEAD_LETTERED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        name: The event schema, such as `video/upload.completed`.
        data: The payload, which the schema describes; up to 1 MiB as JSON.
        version: The schema's version; 0 means the newest.
        idempotency_key: Makes the event unique within the tenant for 30 days, up to 200 bytes.
            Without one the client makes one for the call, so that only its own retries are safe.

    """

    name: str
    data: Mapping[str, JsonValue]
    version: int = 0
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEvent:
    """An event that the service has stored.

    Attributes:
        event_id: A UUID.
        job_ids: The jobs it started, one for each function that it triggers.
        duplicate: Whether an earlier call with the same idempotency key had already been accepted.

    """

    event_id: str
    job_ids: tuple[str, ...]
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step; it is not run again. `attempt` is the attempt of the job it ran in."""

    key: str
    result: Any
    attempt: int
    end_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a function says of its progress: a fraction from 0 to 1 and a message for people."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed. `permanent` when the function said that no retry can help."""

    kind: str
    message: str
    permanent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a function, as it was at its revision.

    Attributes:
        job_id: A UUID, in order of creation.
        function: The function that runs.
        event_id: The event that started it.
        state: Where it stands.
        revision: Counts its changes, from 1.
        attempt: How many attempts have begun.
        max_attempts: How many there may be.
        steps: What has finished, in order of completion.
        progress: What the function last reported; None before it did.
        result: What the function returned; None unless SUCCEEDED.
        failure: Why the last attempt failed; None when none has.
        request_id: The request id of the call that sent the event.
        worker: The worker that has it; empty unless RUNNING.
        create_time: When it was accepted.
        start_time: When its first attempt began.
        end_time: When it ended.
        ready_time: When the next attempt may begin; only when QUEUED or RETRYING.

    """

    job_id: str
    function: str
    event_id: str
    state: JobState
    revision: int
    attempt: int
    max_attempts: int
    steps: tuple[Step, ...]
    progress: Progress | None
    result: Any
    failure: Failure | None
    request_id: str
    worker: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    ready_time: datetime | None


def parse_accepted(event: pb.AcceptedEvent) -> AcceptedEvent:
    """Return the wire's accepted event as ours."""
    return AcceptedEvent(
        event_id=event.event_id, job_ids=tuple(event.job_ids), duplicate=event.duplicate
    )


def parse_job(job: pb.Job) -> Job:
    """Return the wire's job as ours."""
    return Job(
        job_id=job.job_id,
        function=job.function,
        event_id=job.event_id,
        state=_STATES.get(job.state, JobState.UNKNOWN),
        revision=job.revision,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        steps=tuple(_parse_step(step) for step in job.steps),
        progress=_parse_progress(job),
        result=decode(job.result_json) if job.result_json else None,
        failure=_parse_failure(job),
        request_id=job.request_id,
        worker=job.worker,
        create_time=_time(job.create_time),
        start_time=_time_of(job, "start_time"),
        end_time=_time_of(job, "end_time"),
        ready_time=_time_of(job, "ready_time"),
    )


def _parse_step(step: pb.Step) -> Step:
    return Step(
        key=step.key,
        result=decode(step.result_json),
        attempt=step.attempt,
        end_time=_time(step.end_time),
    )


def _parse_progress(job: pb.Job) -> Progress | None:
    if not job.HasField("progress"):
        return None
    return Progress(fraction=job.progress.fraction, message=job.progress.message)


def _parse_failure(job: pb.Job) -> Failure | None:
    if not job.HasField("failure"):
        return None
    failure = job.failure
    return Failure(kind=failure.kind, message=failure.message, permanent=failure.permanent)


def _time_of(job: Message, name: str) -> datetime | None:
    return _time(getattr(job, name)) if job.HasField(name) else None


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
