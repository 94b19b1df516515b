"""Schedules in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mainstay.errors import ConflictError
from services.jobs.schedule import CatchUp, Schedule, ScheduleDraft, next_tick
from services.jobs.schedule_ports import DueSchedules
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

_QUERIES = load_queries("services.jobs", "sql/schedules.sql")
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class PostgresSchedules:
    """Implements ScheduleStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def put(self, tenant: Tenant, draft: ScheduleDraft) -> Schedule:
        """Create or replace one."""

        async def work(connection: Connection) -> Schedule:
            next_time = await _next_time(connection, draft, paused=draft.paused)
            row = await connection.fetchrow(
                _QUERIES["put_schedule"],
                *_columns(tenant, draft),
                draft.paused,
                False,
                next_time,
            )
            if row is None:
                raise ConflictError(
                    f"schedule {draft.name} is the service's own; choose another name",
                    reason="SCHEDULE_IS_SYSTEM",
                )
            return _schedule(row)

        return await self._postgres.run(tenant, work)

    async def keep(self, tenant: Tenant, draft: ScheduleDraft) -> None:
        """Create one of the service's own, or correct it."""

        async def work(connection: Connection) -> None:
            next_time = await _next_time(connection, draft, paused=False)
            await connection.execute(_QUERIES["keep_schedule"], *_columns(tenant, draft), next_time)

        await self._postgres.run(tenant, work)

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Schedule]:
        """Return schedules by name, after a name."""
        async with self._postgres.transaction(tenant) as connection:
            rows = await connection.fetch(_QUERIES["list_schedules"], tenant, after, limit)
        return [_schedule(row) for row in rows]

    async def pause(self, tenant: Tenant, name: str, *, paused: bool) -> Schedule | None:
        """Stop one or let it go on; the same again changes nothing."""

        async def work(connection: Connection) -> Schedule | None:
            row = await connection.fetchrow(_QUERIES["lock_schedule"], tenant, name)
            if row is None:
                return None
            known = _schedule(row)
            if known.draft.paused == paused:
                return known
            next_time = await _next_time(connection, known.draft, paused=paused)
            row = await connection.fetchrow(
                _QUERIES["pause_schedule"], tenant, name, paused, next_time
            )
            return _schedule(row)

        return await self._postgres.run(tenant, work)

    async def delete(self, tenant: Tenant, name: str) -> bool:
        """Remove one."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(_QUERIES["delete_schedule"], tenant, name)
            return found is not None

        return await self._postgres.run(tenant, work)

    async def due(self, limit: int, after: Schedule | None) -> DueSchedules:
        """Return those whose tick has come, by that tick; behind one of them."""
        place = (after.next_time, after.tenant, after.draft.name) if after else (_FIRST, "", "")
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(_QUERIES["due_schedules"], limit, *place)
            next_in = await connection.fetchval(_QUERIES["next_schedule"])
        return DueSchedules(
            schedules=tuple(_schedule(row) for row in rows),
            now=rows[0]["now"] if rows else None,
            next_in=next_in,
        )

    async def advance(
        self, schedule: Schedule, next_time: datetime, last_time: datetime | None
    ) -> None:
        """Go on to the next tick, unless another replica has."""

        async def work(connection: Connection) -> None:
            await connection.execute(
                _QUERIES["advance_schedule"],
                schedule.tenant,
                schedule.draft.name,
                schedule.next_time,
                next_time,
                last_time,
            )

        await self._postgres.run(schedule.tenant, work)


async def _next_time(
    connection: Connection, draft: ScheduleDraft, *, paused: bool
) -> datetime | None:
    if paused:
        return None
    # By the database's clock, like every time.
    return next_tick(draft, await connection.fetchval("SELECT now()"))


def _columns(tenant: Tenant, draft: ScheduleDraft) -> list[Any]:
    return [
        tenant,
        draft.name,
        draft.cron,
        draft.time_zone,
        draft.event,
        draft.function,
        draft.data,
        draft.catch_up.value,
    ]


def _schedule(row: Mapping[str, Any]) -> Schedule:
    draft = ScheduleDraft(
        name=row["name"],
        cron=row["cron"],
        time_zone=row["time_zone"],
        event=row["event"],
        function=row["function"],
        data=row["data"],
        catch_up=CatchUp(row["catch_up"]),
        paused=row["paused"],
    )
    return Schedule(
        tenant=Tenant(row["tenant"]),
        draft=draft,
        system=row["system"],
        next_time=row["next_time"],
        last_time=row["last_time"],
    )
