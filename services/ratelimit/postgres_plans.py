"""Assignments of plans in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from services.ratelimit import audit, revisions
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.plan_ports import PlanAssignment, PlanChange, PlanWish
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

_QUERIES = load_queries("services.ratelimit", "sql/plans.sql")


class PostgresPlans:
    """The `PlanStore` and `PlanHistory` of production."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def assign(self, tenant: Tenant, wish: PlanWish, actor: Actor) -> PlanAssignment:
        """Assign, in one transaction with its record and the news of it."""

        async def work(connection: Connection) -> PlanAssignment:
            known = await connection.fetchrow(_QUERIES["lock_assignment"], tenant, wish.subject)
            if (kept := await _kept(connection, tenant, wish, known)) is not None:
                return kept
            revision = await revisions.bump(connection, revisions.PLANS)
            put = await connection.fetchrow(
                _QUERIES["put_assignment"],
                tenant,
                wish.subject,
                wish.plan,
                actor.principal,
                wish.reason,
                wish.job_id,
                revision,
            )
            if put is None:  # a newer job has had its say
                now = await connection.fetchrow(_QUERIES["find_assignment"], tenant, wish.subject)
                return _assignment(now)
            await audit.write(
                connection,
                tenant,
                actor,
                action="assign_plan",
                target=wish.subject,
                reason=wish.reason,
                details={"plan": wish.plan, "before": known["plan"] if known else ""},
            )
            return _assignment(put)

        return await self._database.run(tenant, work)

    async def find(self, tenant: Tenant, subject: str) -> PlanAssignment | None:
        """Return an assignment."""

        async def work(connection: Connection) -> PlanAssignment | None:
            row = await connection.fetchrow(_QUERIES["find_assignment"], tenant, subject)
            return None if row is None else _assignment(row)

        return await self._database.run(tenant, work)

    async def assigned_tenants(self) -> Sequence[Tenant]:
        """Return every tenant that ever had an assignment."""

        async def work(connection: Connection) -> list[Tenant]:
            rows = await connection.fetch(_QUERIES["find_assigned_tenants"])
            return [Tenant(row["tenant"]) for row in rows]

        return await self._database.run(ALL_TENANTS, work)

    async def recent_revision(self, after: int, *, seconds: float) -> int | None:
        """Return the revision of the first change after one that came in the last seconds."""

        async def work(connection: Connection) -> int | None:
            revision: int | None = await connection.fetchval(
                _QUERIES["find_recent_revision"], after, seconds
            )
            return revision

        return await self._database.run(ALL_TENANTS, work)

    async def last_revision(self) -> int:
        """Return the revision of the last change."""

        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(_QUERIES["find_last_revision"]))

        return await self._database.run(ALL_TENANTS, work)

    async def changes_after(self, revision: int, *, at_most: int) -> Sequence[PlanChange]:
        """Return the next changes in their order."""

        async def work(connection: Connection) -> list[PlanChange]:
            rows = await connection.fetch(_QUERIES["find_plan_changes"], revision, at_most)
            return [
                PlanChange(Tenant(row["tenant"]), row["subject"], row["plan"], row["revision"])
                for row in rows
            ]

        return await self._database.run(ALL_TENANTS, work)


async def _kept(
    connection: Connection, tenant: Tenant, wish: PlanWish, known: Any
) -> PlanAssignment | None:
    """Return the assignment that stays as it is; None where the wish changes something."""
    if known is None:
        # A job leaves a row also where nothing ends: an older one that comes later must see it.
        nothing = not wish.plan and wish.job_id is None
        return PlanAssignment(subject=wish.subject, plan="") if nothing else None
    if known["plan"] != wish.plan:
        return None
    if wish.job_id is not None:
        await connection.execute(_QUERIES["note_job"], tenant, wish.subject, wish.job_id)
    return _assignment(known)


def _assignment(row: Any) -> PlanAssignment:
    return PlanAssignment(
        subject=row["subject"],
        plan=row["plan"],
        assigned_at=row["assigned_at"],
        assigner=row["assigner"],
    )
