"""What the service knows of a job, and what it hands to a worker."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NewType
from uuid import UUID

from services.jobs.states import JobState

JobId = NewType("JobId", UUID)
EventId = NewType("EventId", UUID)
SessionId = NewType("SessionId", UUID)


class StepKind(StrEnum):
    """What a step did; the values are those of the columns `kind`."""

    RUN = "run"
    SLEEP = "sleep"
    EVENT = "event"
    SIGNAL = "signal"
    INVOKE = "invoke"


class Compensation(IntEnum):
    """Whether a step can be undone; the values are those of the column `compensation`."""

    NONE = 0
    DECLARED = 1
    DONE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step; `result` is JSON text."""

    key: str
    result: str
    attempt: int
    end_time: datetime
    kind: StepKind = StepKind.RUN
    compensation: Compensation = Compensation.NONE
    compensate_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A step that waits; `subject` is the name of the event or signal, or the other job's id."""

    key: str
    kind: StepKind
    subject: str
    due_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a function last said of itself; `fraction` is from 0 to 1, `partial` JSON text."""

    fraction: float
    message: str
    partial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed; `permanent` when the function said that no retry can help."""

    kind: str
    message: str
    permanent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """How undoing goes: where it leads, and turns begun since the last step was undone."""

    outcome: JobState
    attempt: int
    max_attempts: int
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """The wish that a job should end."""

    reason: str
    rollback: bool
    request_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a function, as it was at `revision`.

    Attributes:
        max_attempts: How many attempts there may be; each lost worker grants another.
        steps: In order of completion.
        result: JSON text; set when it succeeded.
        worker: Who has it; empty unless somebody has.
        data: The payload, JSON text; left out of lists.

    """

    job_id: JobId
    tenant: str
    function: str
    event_id: EventId
    state: JobState
    revision: int
    attempt: int
    max_attempts: int
    steps: tuple[Step, ...]
    progress: Progress | None
    result: str | None
    failure: Failure | None
    request_id: str
    worker: str
    create_time: datetime
    start_time: datetime | None
    ready_time: datetime | None
    end_time: datetime | None
    waits: tuple[Wait, ...] = ()
    rollback: Rollback | None = None
    cancellation: Cancellation | None = None
    priority: int = 0
    parent: JobId | None = None
    version: str = ""
    schedule: str = ""
    event_name: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """The kept result of a step, JSON text."""

    key: str
    result: str
    kind: StepKind = StepKind.RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job that was claimed for a session, with all that its function needs.

    Attributes:
        data: The event's payload, JSON text.
        waited: Seconds between the time it could start and the claim.
        timeout: Seconds that the turn may take; None for no limit.
        hang_timeout: Seconds it may give no sign of life; None when only a stuck worker counts.
        rollback: The keys of the steps to undo, in order; None when the job goes on.
        version: The version of the function that began the job.

    """

    job_id: JobId
    epoch: int
    session_id: SessionId
    tenant: str
    function: str
    attempt: int
    max_attempts: int
    event_name: str
    data: str
    memo: tuple[Memo, ...]
    request_id: str
    traceparent: str
    waited: float
    timeout: float | None = None
    hang_timeout: float | None = None
    rollback: tuple[str, ...] | None = None
    version: str = ""

    @property
    def size(self) -> int:
        """Return about how many bytes it takes on the wire."""
        return len(self.data) + sum(len(memo.key) + len(memo.result) for memo in self.memo) + 300
