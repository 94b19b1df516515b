"""Jobs as they are read, from PostgreSQL."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from services.jobs.job import Job, JobId
from services.jobs.ports import Found
from services.jobs.postgres_job_rows import job_from
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

Pair = tuple[Tenant, JobId]
Row = Mapping[str, Any]

_QUERIES = load_queries("services.jobs", "sql/reading.sql")


class PostgresJobs:
    """Implements JobReader."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, tenant: Tenant, job_id: JobId) -> Job | None:
        """Return a job of the tenant with its steps."""
        async with self._postgres.transaction(tenant) as connection:
            # In this order: a job that ends in between is seen by the second.
            for query in ("find_job", "find_job_that_is_over"):
                row = await connection.fetchrow(_QUERIES[query], tenant, job_id)
                if row is not None:
                    return job_from(row)
        return None

    async def find_many(self, wanted: AbstractSet[Pair], *, room: int) -> Found:
        """Return jobs of tenants until they fill the room, and which are left."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            live = await self._measured(connection, "measure_jobs", _ids(wanted))
            live = {pair: size for pair, size in live.items() if pair in wanted}
            missing = wanted - live.keys()
            over = await self._measured(
                connection, "measure_jobs_that_are_over", *_columns(missing)
            )
            chosen = _fitting(live | over, room)
            rows = await _fetch(connection, "find_jobs", _ids(chosen & live.keys()))
            ended = _columns(chosen & over.keys())
            rows += await _fetch(connection, "find_jobs_that_are_over", *ended)
        jobs = {_pair(row): job_from(row) for row in rows}
        # One that was there and is not any more has just moved into the history.
        return Found(jobs=jobs, left=frozenset((live | over).keys() - jobs.keys()))

    @staticmethod
    async def _measured(
        connection: Connection, query: str, *columns: Sequence[object]
    ) -> dict[Pair, int]:
        rows = await _fetch(connection, query, *columns)
        return {_pair(row): row["bytes"] for row in rows}

    async def revisions(self, jobs: Collection[Pair]) -> dict[JobId, int]:
        """Return the revisions of jobs."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await _fetch(connection, "find_revisions", _ids(jobs))
            revisions = {row["job_id"]: row["revision"] for row in rows}
            missing = [pair for pair in jobs if pair[1] not in revisions]
            rows = await _fetch(connection, "find_last_revisions", *_columns(missing))
        return revisions | {row["job_id"]: row["revision"] for row in rows}


async def _fetch(connection: Connection, query: str, *columns: Sequence[object]) -> list[Row]:
    """Return the rows of a query about jobs; without jobs there are none."""
    return list(await connection.fetch(_QUERIES[query], *columns)) if columns[0] else []


def _ids(pairs: Iterable[Pair]) -> list[JobId]:
    return [job_id for _, job_id in pairs]


def _columns(pairs: Collection[Pair]) -> tuple[list[Tenant], list[JobId]]:
    return [tenant for tenant, _ in pairs], [job_id for _, job_id in pairs]


def _pair(row: Mapping[str, Any]) -> tuple[Tenant, JobId]:
    return Tenant(row["tenant"]), row["job_id"]


def _fitting(sizes: Mapping[Pair, int], room: int) -> set[Pair]:
    """Return the first ones that fit into the room, and one at least."""
    fitting: set[Pair] = set()
    for pair, size in sizes.items():
        if fitting and size > room:
            break
        fitting.add(pair)
        room -= size
    return fitting
