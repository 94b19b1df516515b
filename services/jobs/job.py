"""What the service knows of a job, and what it hands to a worker."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from services.jobs.states import JobState

JobId = NewType("JobId", UUID)
EventId = NewType("EventId", UUID)
SessionId = NewType("SessionId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step; `result` is JSON text."""

    key: str
    result: str
    attempt: int
    end_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a function last said of itself; `fraction` is from 0 to 1."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed; `permanent` when the function said that no retry can help."""

    kind: str
    message: str
    permanent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a function, as it was at `revision`.

    Attributes:
        max_attempts: How many attempts there may be; each lost worker grants another.
        steps: In order of completion.
        result: JSON text; set when it succeeded.
        worker: Who has it; empty unless it runs.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """The kept result of a step, JSON text."""

    key: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job that was claimed for a session, with all that its function needs.

    Attributes:
        data: The event's payload, JSON text.
        waited: Seconds between the time it could start and the claim.

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

    @property
    def size(self) -> int:
        """Return about how many bytes it takes on the wire."""
        return len(self.data) + sum(len(memo.key) + len(memo.result) for memo in self.memo) + 300
