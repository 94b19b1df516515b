"""Queues and connected workers in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.jobs.explaining import MAX_COUNTED, QueueFacts
from services.jobs.function import FunctionDefinition
from services.jobs.job import JobId, SessionId
from services.jobs.ports import Depth
from services.jobs.postgres_functions import find_functions
from services.jobs.queues import ConnectedWorker, KnownFunction, Queue
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

_QUERIES = load_queries("services.jobs", "sql/queues.sql")
_FIRST = SessionId(UUID(int=0))


class PostgresQueues:
    """Implements QueueStore and DepthStore.

    Reads across tenants, always with the tenant in the query: workers for all tenants are no
    tenant's own.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Queue]:
        """Return a tenant's queues by name, after a name."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(_QUERIES["queue_names"], tenant, after, limit)
            return await _figures(connection, tenant, [row["name"] for row in rows])

    async def find(self, tenant: Tenant, name: str) -> Queue | None:
        """Return one queue."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            found = await _figures(connection, tenant, [name])
        return found[0] if found else None

    async def set_paused(self, tenant: Tenant, name: str, *, paused: bool) -> bool:
        """Hold a queue back or let it go on."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(_QUERIES["set_paused"], tenant, name, paused)
            return found is not None

        return await self._postgres.run(tenant, work)

    async def workers(
        self, tenant: Tenant, after: tuple[str, SessionId] | None, limit: int
    ) -> Sequence[ConnectedWorker]:
        """Return workers that serve a tenant."""
        name, session_id = after or ("", _FIRST)
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(_QUERIES["list_workers"], tenant, name, session_id, limit)
        return [_worker(row) for row in rows]

    async def functions(
        self, tenant: Tenant, after: str, limit: int
    ) -> Sequence[FunctionDefinition]:
        """Return declared functions by name, after a name."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(_QUERIES["queue_names"], tenant, after, limit)
            names = [row["name"] for row in rows]
            found = await find_functions(connection, tenant, names)
        return [found[name].definition for name in names]

    async def function(self, tenant: Tenant, name: str) -> KnownFunction | None:
        """Return one function."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            found = await find_functions(connection, tenant, [name])
            facts = await connection.fetchrow(_QUERIES["function_facts"], tenant, name)
        if name not in found or facts is None:
            return None
        return KnownFunction(
            definition=found[name].definition,
            workers=facts["workers"],
            update_time=facts["update_time"],
        )

    async def facts(self, tenant: Tenant, job_id: JobId) -> QueueFacts | None:
        """Return what keeps a job from running; None for one that is over and gone from here."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            row = await connection.fetchrow(_QUERIES["queue_facts"], tenant, job_id, MAX_COUNTED)
        return QueueFacts(**dict(row)) if row else None

    async def depth(self) -> Depth:
        """Count what waits and runs, and what strains the tables."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            depth = await connection.fetchrow(_QUERIES["depth"])
            strain = await connection.fetchrow(_QUERIES["strain"])
        return Depth(**dict(depth), **dict(strain))


async def _figures(connection: Connection, tenant: Tenant, names: Sequence[str]) -> list[Queue]:
    rows = await connection.fetch(_QUERIES["queue_figures"], tenant, list(names))
    return [Queue(**dict(row)) for row in rows]


def _worker(row: Mapping[str, Any]) -> ConnectedWorker:
    return ConnectedWorker(
        session_id=SessionId(row["session_id"]),
        name=row["worker"],
        tenant=Tenant(row["tenant"]),
        functions=tuple(sorted(row["functions"])),
        running=row["running"],
        lease_expire_time=row["lease_expire_time"],
        create_time=row["create_time"],
    )
