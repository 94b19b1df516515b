"""What keeps the tables small, in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.jobs.job import JobId
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

_QUERIES = load_queries("services.jobs", "sql/maintenance.sql")


class PostgresMaintenance:
    """Implements MaintenanceStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def ensure_partitions(self, days_ahead: int) -> int:
        """Make the history's partitions of days to come."""
        return await self._count("ensure_partitions", days_ahead)

    async def drop_history(self, days: int) -> int:
        """Drop days of the history."""
        return await self._count("drop_history", days)

    async def delete_keys(self, older_than: timedelta, limit: int) -> int:
        """Delete idempotency keys of both kinds, each up to the limit."""
        events = await self._count("delete_event_keys", older_than, limit)
        jobs = await self._count("delete_job_keys", older_than, limit)
        return max(events, jobs)

    async def old_dead_letters(
        self, older_than: timedelta, limit: int
    ) -> Sequence[tuple[Tenant, JobId]]:
        """Return dead letters that nobody has cared for."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(_QUERIES["old_dead_letters"], older_than, limit)
        return [(Tenant(row["tenant"]), JobId(row["job_id"])) for row in rows]

    async def _count(self, query: str, *arguments: Any) -> int:
        async def work(connection: Connection) -> int:
            return int(await connection.fetchval(_QUERIES[query], *arguments))

        return await self._postgres.run(ALL_TENANTS, work)
