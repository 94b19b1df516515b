"""Jobs as they are read, from PostgreSQL."""

from collections.abc import Collection, Mapping

from services.jobs.job import Job, JobId
from services.jobs.ports import Depth
from services.jobs.postgres_rows import job_from
from shared.postgres.pool import Postgres
from shared.rpc.call import ALL_TENANTS, Tenant


class PostgresJobs:
    """Implements JobReader and DepthStore."""

    def __init__(self, postgres: Postgres, queries: Mapping[str, str]) -> None:
        self._postgres = postgres
        self._queries = queries

    async def find(self, tenant: Tenant, job_id: JobId) -> Job | None:
        """Return a job of the tenant with its steps."""
        async with self._postgres.transaction(tenant) as connection:
            row = await connection.fetchrow(self._queries["find_job"], tenant, job_id)
        return job_from(row) if row else None

    async def revisions(self, job_ids: Collection[JobId]) -> dict[JobId, int]:
        """Return the revisions of jobs."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(self._queries["find_revisions"], list(job_ids))
        return {row["job_id"]: row["revision"] for row in rows}

    async def depth(self) -> Depth:
        """Count what waits and runs."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            row = await connection.fetchrow(self._queries["depth"])
        return Depth(**dict(row))
