"""Events and jobs as their senders and watchers see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from mainstay.jobs.durations import Duration
from mainstay.jobs.json_text import JsonValue


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
    WAITING = "waiting"
    """Sleeps, or waits for an event, a signal or another job, and keeps no worker busy."""
    ROLLING_BACK = "rolling_back"
    """Its finished steps are undone; then it will be DEAD_LETTERED or CANCELLED."""
    SUCCEEDED = "succeeded"
    """Ended well."""
    DEAD_LETTERED = "dead_lettered"
    """Ended badly; kept for inspection."""
    CANCELLED = "cancelled"
    """Ended because somebody asked for it."""
    DISCARDED = "discarded"
    """Was a dead letter, and somebody has put it away."""

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more by itself."""
        return self in _ENDED


_ENDED = frozenset(
    {JobState.SUCCEEDED, JobState.DEAD_LETTERED, JobState.CANCELLED, JobState.DISCARDED}
)


class StepKind(Enum):
    """What a step did."""

    UNKNOWN = "unknown"
    """A kind that this release of the SDK does not know."""
    RUN = "run"
    """Ran code of its own."""
    SLEEP = "sleep"
    """Slept."""
    EVENT = "event"
    """Waited for an event."""
    SIGNAL = "signal"
    """Waited for a signal."""
    INVOKE = "invoke"
    """Invoked a job and waited for its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        name: The event schema, such as `video/upload.completed`.
        data: The payload, which the schema describes; up to 1 MiB as JSON.
        version: The schema's version; 0 means the newest.
        idempotency_key: Makes the event unique within the tenant for 30 days, up to 200 bytes.
            Without one the client makes one for the call, so that only its own retries are safe.
        priority: From -100 to 100, a point counts as a head start of 10 s; None leaves it to the
            function.
        delay: How long its jobs have to wait, in seconds or as timedelta.

    """

    name: str
    data: Mapping[str, JsonValue]
    version: int = 0
    idempotency_key: str | None = None
    priority: int | None = None
    delay: Duration | None = None


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
class EnqueuedJob:
    """A job that was started directly; `duplicate` when an earlier call had the same key."""

    job_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant; what is empty does not matter.

    Attributes:
        states: In one of these states.
        function: Of this function.
        event_id: Started by this event.
        request_id: Caused by the call with this request id.
        since: Accepted at this time or later.
        until: Accepted before this time.
        failure_kind: Whose last failure is of this kind.

    """

    states: frozenset[JobState] = frozenset()
    function: str = ""
    event_id: str = ""
    request_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    failure_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step; it is not run again.

    Attributes:
        result: What it returned. Of a wait: None when it ended by its timeout.
        attempt: The attempt of the job it ran in.
        kind: What it did.
        compensable: Whether it is undone when the job is rolled back.
        compensate_time: When it was undone; None before.

    """

    key: str
    result: Any
    attempt: int
    end_time: datetime
    kind: StepKind = StepKind.RUN
    compensable: bool = False
    compensate_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A step that waits; `subject` is the name of the event or signal, or the other job's id."""

    key: str
    kind: StepKind
    subject: str
    due_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """How the undoing of a job's steps goes.

    Attributes:
        outcome: Where the job goes once all is undone.
        attempt: Turns at undoing that have begun since the last step was undone.
        max_attempts: How many there may be.
        failure: Why undoing last failed; None when it has not.

    """

    outcome: JobState
    attempt: int
    max_attempts: int
    failure: "Failure | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """The wish that a job should end."""

    reason: str
    rollback: bool
    request_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a function says of its progress: a fraction from 0 to 1, a message, a partial result."""

    fraction: float
    message: str
    partial: Any = None


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
        ready_time: When the next turn may begin; only while it waits for a worker.
        waits: What it waits for, when WAITING.
        rollback: How the undoing of its steps goes; None unless that has begun.
        cancellation: Set once somebody has asked to cancel it.
        priority: Of jobs that wait, those with more go first.
        parent_job_id: The job that invoked it; empty for none.
        version: The version of the function that began it; empty for none.
        schedule: The schedule that started it; empty for none.
        event_name: The name of the event that started it; empty for none.
        data: What it was given; None in lists.

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
    waits: tuple[Wait, ...] = ()
    rollback: Rollback | None = None
    cancellation: Cancellation | None = None
    priority: int = 0
    parent_job_id: str = ""
    version: str = ""
    schedule: str = ""
    event_name: str = ""
    data: Any = None
