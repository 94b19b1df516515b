"""What the jobs service needs of its store. Every method is one transaction, or none took place.

All of them raise DatabaseError when the database cannot be used.
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from mainstay.errors import MainstayError
from services.jobs.allotting import Places
from services.jobs.caps import Rate
from services.jobs.dealing import Lane, Opening
from services.jobs.endings import Ending
from services.jobs.event import AcceptedEvent, NewCall
from services.jobs.frames import Directive, Heartbeat, Hello
from services.jobs.job import Assignment, Job, JobId, SessionId
from services.jobs.reports import Report
from services.jobs.settlement import Settlement
from services.jobs.terms import Terms
from services.jobs.token import Token
from services.jobs.wakeups import Change
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedJob:
    """A job that had to give way to newer ones in a full queue."""

    job_id: JobId
    function: str
    tenant: Tenant
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of calls, one outcome for each in their order, and what has changed by them."""

    outcomes: tuple[tuple[AcceptedEvent, ...] | MainstayError, ...]
    change: Change
    shed: tuple[ShedJob, ...] = ()


class EventStore(Protocol):
    """Accepts events and starts their jobs."""

    async def accept(self, tenant: Tenant, calls: Sequence[NewCall]) -> Stored:
        """Start one job for each function that each event triggers; each call all or nothing.

        An event whose key was used within 30 days starts nothing: its earlier ids are returned.
        Outcomes of calls that are refused: AlreadyExistsError (`IDEMPOTENCY_KEY_REUSED`),
        NotFoundError (`FUNCTION_NOT_FOUND`), QueueFullError. When it raises, no call took effect.
        """
        ...

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Return whether a function can be started for a tenant."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Jobs that were read, and those that are there but were left for another time."""

    jobs: Mapping[tuple[Tenant, JobId], Job]
    left: frozenset[tuple[Tenant, JobId]]


class JobReader(Protocol):
    """Reads jobs."""

    async def find(self, tenant: Tenant, job_id: JobId) -> Job | None:
        """Return a job of the tenant with its steps."""
        ...

    async def find_many(self, wanted: AbstractSet[tuple[Tenant, JobId]], *, room: int) -> Found:
        """Return jobs with their steps until they take `room` bytes; at least one, if any is."""
        ...

    async def revisions(self, jobs: Collection[tuple[Tenant, JobId]]) -> Mapping[JobId, int]:
        """Return the revisions of jobs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session that was opened or resumed.

    Attributes:
        stream: Counts the streams of the session, from 1.
        lost: Of the tokens the worker had, those that are no longer its own.
        endings: Turns given back because the worker never got or has forgotten them.

    """

    session_id: SessionId
    stream: int
    resumed: bool
    lost: tuple[bytes, ...]
    endings: tuple[Ending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedSession:
    """A session whose lease counts anew; `lost` and `endings` as in OpenedSession."""

    lost: tuple[bytes, ...]
    endings: tuple[Ending, ...]
    directives: tuple[Directive, ...] = ()


class SessionStore(Protocol):
    """Keeps sessions, their leases, and what their workers can run."""

    async def open(
        self, tenant: Tenant, new_id: SessionId, hello: Hello, *, lease: float
    ) -> OpenedSession:
        """Register the worker's functions and resume its session, or begin one as `new_id`."""
        ...

    async def renew(
        self,
        tenant: Tenant,
        session_id: SessionId,
        stream: int,
        beat: Heartbeat,
        *,
        undelivered: Collection[JobId],
        terms: Terms,
    ) -> RenewedSession | None:
        """Count the lease from now; None when the session is gone or has a newer stream.

        A job that was assigned a whole lease ago, is not waiting here and is unknown to the worker
        got lost on the way: it is given back. One that has not moved for too long fails.
        """
        ...

    async def touch(self, tenant: Tenant, session_id: SessionId, *, lease: float) -> bool:
        """Count the lease from now, whichever stream is the newest; False when it has ended."""
        ...

    async def leave(
        self, tenant: Tenant, session_id: SessionId, stream: int, *, within: float
    ) -> None:
        """Let the session end `within` seconds unless it is resumed; a newer stream prevents it."""
        ...

    async def give_back(
        self, tenant: Tenant, session_id: SessionId, tokens: Collection[Token]
    ) -> list[Ending]:
        """Put back jobs that were assigned and never reached the worker."""
        ...


class ReportStore(Protocol):
    """Applies what workers report."""

    async def apply(
        self, tenant: Tenant, session_id: SessionId, reports: Sequence[Report]
    ) -> Settlement:
        """Settle a batch of reports against the session's leases and store what follows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim brought.

    Attributes:
        endings: Turns that were over before they began: the job's version does not go on.
        gone: Sessions that got nothing because they have ended or go on over a newer stream.
        more: Whether another claim may find more.
        promoted: How many delayed jobs were made ready.
        next_due: Seconds until a delayed job becomes ready; None when not asked or there is none.
        served: How many jobs came from which lanes.
        waiting: The lanes that could have got places.
        spent: How many permits were used.
        wanting: How many more would be.
        held: Whether something waits in functions with a cap: each end of a job may let it start.
        exhausted: Whether nothing is left that the openings could do, so that more room of theirs
            is no reason to claim again.

    """

    assignments: tuple[Assignment, ...]
    gone: frozenset[SessionId]
    more: bool
    promoted: int
    next_due: float | None
    endings: tuple[Ending, ...] = ()
    served: Mapping[Lane, int] = field(default_factory=dict)
    waiting: Sequence[Lane] = ()
    spent: Mapping[Rate, int] = field(default_factory=dict)
    wanting: Mapping[Rate, int] = field(default_factory=dict)
    held: bool = False
    exhausted: bool = False


class ClaimStore(Protocol):
    """Hands out what waits."""

    async def claim(
        self,
        openings: Sequence[Opening],
        *,
        limit: int,
        places: Places,
        permits: Mapping[Rate, int],
        promote: bool,
    ) -> Claimed:
        """Assign up to `limit` ready jobs to the openings, of which there may be none.

        `places` says whose turn it is, `permits` how many starts are allowed of what has a rate.
        With `promote`, delayed jobs that have become due are made ready before. No cap is
        exceeded, whoever else claims at the same time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """What a rescue found; `next_expiry` are the seconds until the next lease ends, if any."""

    sessions: int
    endings: tuple[Ending, ...]
    next_expiry: float | None


class RescueStore(Protocol):
    """Takes jobs from workers that are gone."""

    async def rescue(self, *, max_crashes: int, limit: int) -> Rescued:
        """End up to `limit` sessions whose lease is over and put their jobs back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many jobs wait and run, and what makes their tables slow. Times are in seconds.

    Attributes:
        oldest: How long the ready job that has waited longest has waited.
        workers: Workers connected to any replica.
        oldest_transaction: Age of the oldest transaction that the service's role may see.
        dead_rows: Rows that wait for a vacuum.

    """

    ready: int
    delayed: int
    running: int
    oldest: float
    dead_letters: int
    workers: int
    oldest_transaction: float
    dead_rows: int


class DepthStore(Protocol):
    """Measures the queue."""

    async def depth(self) -> Depth:
        """Count what waits and runs."""
        ...
