"""Lists of jobs, from PostgreSQL."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from services.jobs.job import JobId
from services.jobs.job_filter import JobFilter, JobPage
from services.jobs.postgres_job_rows import job_from
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

WINDOW = 5_000
"""Jobs looked at in one statement."""
MAX_WINDOWS = 20
"""Statements for one page: of a list in which few jobs fit, a page may hold less than was asked."""

_QUERIES = load_queries("services.jobs", "sql/listing.sql")

Row = Mapping[str, Any]
Look = Callable[[Connection, JobId, int], Awaitable[Sequence[Row]]]
Last = Callable[[Connection, JobId], Awaitable[JobId | None]]


class PostgresListing:
    """Implements ListingStore."""

    def __init__(self, postgres: Postgres, *, window: int = WINDOW) -> None:
        self._postgres = postgres
        self._window = window

    async def list_jobs(
        self, tenant: Tenant, wanted: JobFilter, *, below: JobId, size: int
    ) -> JobPage:
        """Return the next jobs that fit, the newest first."""
        if wanted.wants_dead_letters_only:
            return await self.list_dead_letters(tenant, wanted, below=below, size=size)
        begin, end = min(below, wanted.highest), wanted.lowest

        async def look(connection: Connection, begin: JobId, room: int) -> Sequence[Row]:
            rows: Sequence[Row] = await connection.fetch(
                _QUERIES["list_jobs"],
                tenant,
                begin,
                end,
                wanted.wants_live,
                wanted.wants_history,
                [state.value for state in wanted.states] or None,
                wanted.function,
                wanted.event_id,
                wanted.request_id,
                wanted.failure_kind,
                self._window,
                room,
                wanted.create_time_from,
                wanted.create_time_to,
            )
            return rows

        async def last(connection: Connection, begin: JobId) -> JobId | None:
            live, over = wanted.wants_live, wanted.wants_history
            found: JobId | None = await connection.fetchval(
                _QUERIES["last_listed"], tenant, begin, end, live, over, self._window
            )
            return found

        async with self._postgres.transaction(tenant) as connection:
            return await _page(connection, look, last, begin, size)

    async def list_dead_letters(
        self, tenant: Tenant, wanted: JobFilter, *, below: JobId, size: int
    ) -> JobPage:
        """Return the next dead letters that fit, the newest first."""
        begin, end = min(below, wanted.highest), wanted.lowest

        async def look(connection: Connection, begin: JobId, room: int) -> Sequence[Row]:
            rows: Sequence[Row] = await connection.fetch(
                _QUERIES["list_dead_letters"],
                tenant,
                begin,
                end,
                wanted.function,
                wanted.event_id,
                wanted.request_id,
                wanted.failure_kind,
                wanted.create_time_from,
                self._window,
                room,
                wanted.create_time_to,
            )
            return rows

        async def last(connection: Connection, begin: JobId) -> JobId | None:
            found: JobId | None = await connection.fetchval(
                _QUERIES["last_listed_dead_letter"], tenant, begin, end, self._window
            )
            return found

        async with self._postgres.transaction(tenant) as connection:
            return await _page(connection, look, last, begin, size)


async def _page(connection: Connection, look: Look, last: Last, begin: JobId, size: int) -> JobPage:
    """Gather a page, window by window."""
    rows: list[Row] = []
    for _ in range(MAX_WINDOWS):
        # One more tells whether there is another page.
        rows += await look(connection, begin, size - len(rows) + 1)
        if len(rows) > size:
            return JobPage(jobs=tuple(map(job_from, rows[:size])), next=rows[size - 1]["job_id"])
        looked_at = await last(connection, begin)
        if looked_at is None:
            return JobPage(jobs=tuple(map(job_from, rows)), next=None)
        begin = looked_at
    return JobPage(jobs=tuple(map(job_from, rows)), next=begin)
