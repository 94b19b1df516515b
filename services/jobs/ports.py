"""What the jobs service needs of its store. Every method is one transaction, or none took place.

All of them raise DatabaseError when the database cannot be used.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.jobs.dealing import Opening
from services.jobs.endings import Ending
from services.jobs.event import AcceptedEvent, NewEvent, Origin
from services.jobs.frames import HeldToken, Hello
from services.jobs.job import Assignment, Job, JobId, SessionId
from services.jobs.reports import Report
from services.jobs.settlement import Settlement
from services.jobs.token import Token
from shared.rpc.call import Tenant


class EventStore(Protocol):
    """Keeps events and starts their jobs."""

    async def accept(self, origin: Origin, events: Sequence[NewEvent]) -> list[AcceptedEvent]:
        """Store events and one job for each function that each triggers; all or nothing.

        An event whose key was used within 30 days is not stored again: its earlier ids are
        returned. Raises AlreadyExistsError (`IDEMPOTENCY_KEY_REUSED`) when that event was another.
        Repeating the call with the same event ids has no further effect.
        """
        ...


class JobReader(Protocol):
    """Reads jobs."""

    async def find(self, tenant: Tenant, job_id: JobId) -> Job | None:
        """Return a job of the tenant with its steps."""
        ...

    async def revisions(self, job_ids: Collection[JobId]) -> Mapping[JobId, int]:
        """Return the revisions of jobs, whoever's they are."""
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
        tokens: Collection[HeldToken],
        *,
        undelivered: Collection[JobId],
        lease: float,
    ) -> RenewedSession | None:
        """Count the lease from now; None when the session is gone or has a newer stream.

        A job that was assigned a whole lease ago, is not waiting here and is unknown to the worker
        got lost on the way: it is given back.
        """
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
        gone: Sessions that got nothing because they have ended or go on over a newer stream.
        more: Whether another claim may find more.
        promoted: How many delayed jobs were made ready.
        next_due: Seconds until a delayed job becomes ready; None when not asked or there is none.

    """

    assignments: tuple[Assignment, ...]
    gone: frozenset[SessionId]
    more: bool
    promoted: int
    next_due: float | None


class ClaimStore(Protocol):
    """Hands out what waits."""

    async def claim(
        self, openings: Sequence[Opening], *, limit: int, turn: int, promote: bool
    ) -> Claimed:
        """Assign up to `limit` ready jobs to the openings, of which there may be none.

        With `promote`, delayed jobs that have become due are made ready before.
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
    """How many jobs wait and run, and how long the one at the head has waited, in seconds."""

    ready: int
    delayed: int
    running: int
    oldest: float


class DepthStore(Protocol):
    """Measures the queue."""

    async def depth(self) -> Depth:
        """Count what waits and runs."""
        ...
