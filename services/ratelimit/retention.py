"""Deletes what nobody asks for any more: old audits, and overrides that ended a day ago."""

import asyncio
import random
from datetime import timedelta

import asyncpg
import structlog

from mainstay.errors import MainstayError
from services.ratelimit.database import Database
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

KEEP_AUDITS = timedelta(days=400)
KEEP_OVERRIDES = timedelta(days=1)
"""Longer than any replica relies on having heard of an end (see `override_book`)."""
INTERVAL = 3_600.0
PAUSE = 1.0

_AT_ONCE = 5_000
_QUERIES = load_queries("services.ratelimit", "sql/policies.sql")

log = structlog.get_logger()


class Retention:
    """Deletes once an hour, some thousand rows at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Delete again and again; for a background task, which must not end."""
        await self._database.wait_connected()
        while True:
            more = False
            try:
                more = await self.run_once() >= _AT_ONCE
            except (MainstayError, asyncpg.PostgresError) as error:
                log.warning("old_decisions_not_deleted", error=str(error))
            pause = PAUSE if more else INTERVAL
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    async def run_once(self) -> int:
        """Delete some; returns how many. Raises DatabaseError."""

        async def work(connection: Connection) -> int:
            deleted = await connection.fetchval(
                _QUERIES["delete_old_decisions"], KEEP_AUDITS, KEEP_OVERRIDES, _AT_ONCE
            )
            return int(deleted)

        return await self._database.run(ALL_TENANTS, work)
