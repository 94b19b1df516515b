"""What schedules need of their store. Raises DatabaseError when the database cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.jobs.schedule import Schedule, ScheduleDraft
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedules:
    """Schedules whose tick has come at `now`, by the database's clock.

    Attributes:
        next_in: Seconds until the next tick of any, which is not above 0 when one is due; None
            when there is no schedule.

    """

    schedules: tuple[Schedule, ...]
    now: datetime | None
    next_in: float | None


class ScheduleStore(Protocol):
    """Keeps schedules."""

    async def put(self, tenant: Tenant, draft: ScheduleDraft) -> Schedule:
        """Create or replace one; raises ConflictError for one of the service's own."""
        ...

    async def keep(self, tenant: Tenant, draft: ScheduleDraft) -> None:
        """Create one of the service's own, or correct it."""
        ...

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Schedule]:
        """Return schedules by name, after a name."""
        ...

    async def pause(self, tenant: Tenant, name: str, *, paused: bool) -> Schedule | None:
        """Stop one or let it go on; None when there is none."""
        ...

    async def delete(self, tenant: Tenant, name: str) -> bool:
        """Remove one; returns whether there was one that can be removed."""
        ...

    async def due(self, limit: int, after: Schedule | None) -> DueSchedules:
        """Return those whose tick has come, of all tenants, by that tick; behind one of them."""
        ...

    async def advance(
        self, schedule: Schedule, next_time: datetime, last_time: datetime | None
    ) -> None:
        """Go on to the next tick, unless another replica has."""
        ...
