"""What the timers need of their store. Every method is one transaction, or none took place.

All of them raise DatabaseError when the database cannot be used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from services.jobs.endings import Ending
from services.jobs.frames import Directive
from services.jobs.job import Failure, JobId, SessionId

NOT_STARTED = Failure(
    kind="NotStarted", message="waited for its first attempt for longer than it may"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """In how many seconds, by the database's clock, the next of each kind is due; None for never.

    Attributes:
        sessions: The lease of a session ends.
        waits: A step has slept, or waited for long enough.
        turns: A turn has taken too long, or a worker had long enough to end a cancelled job.
        starts: A job has waited too long for its first attempt.

    """

    sessions: float | None
    waits: float | None
    turns: float | None
    starts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnstartedJob:
    """A job that became a dead letter because nobody began it in time."""

    job_id: JobId
    function: str
    tenant: str
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep changed.

    Attributes:
        count: How many were due, of at most as many as were asked for.
        jobs: Jobs with a new revision.
        work: Whether a job has become ready.
        endings: Turns that it ended.
        unstarted: Jobs that it made dead letters of before they had begun.

    """

    count: int
    jobs: frozenset[JobId] = frozenset()
    work: bool = False
    endings: tuple[Ending, ...] = ()
    unstarted: tuple[UnstartedJob, ...] = ()


class TimerStore(Protocol):
    """Knows what is due, and does it; several replicas may do so at once."""

    async def look(self) -> Due:
        """Return when to sweep; the cheapest of transactions."""
        ...

    async def finish_due_waits(self, limit: int) -> Swept:
        """End waits whose time has come: their result is null."""
        ...

    async def end_expired_turns(self, limit: int) -> Swept:
        """Take jobs from workers that had long enough."""
        ...

    async def bury_unstarted(self, limit: int) -> Swept:
        """Make dead letters of jobs that have waited too long for their first attempt."""
        ...


class DirectiveStore(Protocol):
    """Knows which jobs workers are to end."""

    async def directives(
        self, sessions: Collection[SessionId], jobs: Collection[JobId] | None
    ) -> list[tuple[SessionId, Directive]]:
        """Return what sessions are to do about jobs; None means about any of theirs."""
        ...
