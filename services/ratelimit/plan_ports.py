"""What the use cases of plans need from outside, and the nouns they speak in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from services.ratelimit.audit import Actor
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAssignment:
    """Who is on which plan.

    Attributes:
        subject: Who.
        plan: The plan; empty for none.
        assigned_at: Since when, in microseconds since 1970; None when none was ever assigned.
        assigner: Who assigned it; empty when nobody did.

    """

    subject: str
    plan: str
    assigned_at: int | None = None
    assigner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWish:
    """What is to be assigned.

    Attributes:
        subject: Who.
        plan: The plan; empty ends the assignment.
        reason: Why, for the audit.
        job_id: The job of the event that wants it, a UUIDv7; None for a call. Of jobs, the newest
            decides, in whichever order they come.

    """

    subject: str
    plan: str
    reason: str = ""
    job_id: UUID | None = None


class PlanChange(NamedTuple):
    """One change: who is on which plan now. The revision grows with every change of any tenant."""

    tenant: Tenant
    subject: str
    plan: str
    revision: int


class PlanKey(NamedTuple):
    """Whose plan."""

    tenant: Tenant
    subject: str


class PlanStore(Protocol):
    """Keeps assignments for good.

    Every method raises DatabaseError while it cannot be reached, and PreconditionError
    (`NO_DATABASE`) where there is none.
    """

    async def assign(self, tenant: Tenant, wish: PlanWish, actor: Actor) -> PlanAssignment:
        """Assign and have it on record; return what holds then.

        What holds already, or comes after a newer job, changes nothing and is not on record.
        """
        ...

    async def find(self, tenant: Tenant, subject: str) -> PlanAssignment | None:
        """Return an assignment; None if there never was one."""
        ...


class PlanHistory(Protocol):
    """Tells replicas what changed. Raises as `PlanStore` does."""

    async def assigned_tenants(self) -> Sequence[Tenant]:
        """Return every tenant that ever had an assignment."""
        ...

    async def recent_revision(self, after: int, *, seconds: float) -> int | None:
        """Return the revision of the first change after one that came in the last seconds."""
        ...

    async def last_revision(self) -> int:
        """Return the revision of the last change; 0 before the first."""
        ...

    async def changes_after(self, revision: int, *, at_most: int) -> Sequence[PlanChange]:
        """Return the next changes in their order; of a subject only the last one."""
        ...


class PlanNews(Protocol):
    """Takes note of what was assigned, so that it is effective everywhere soon."""

    async def learn(self, changes: Sequence[tuple[PlanKey, str]]) -> None:
        """Take over what subjects' plans are now, and tell whoever else keeps them.

        Takes a bounded time and never raises because somebody is away; what could not be told is
        told later.
        """
        ...

    async def announce(self) -> None:
        """Tell other replicas that something has changed. Only a hint: they look for themselves."""
        ...
