"""Makes the partitions of the days to come and deletes what is old, hourly.

Of history and telemetry, and of the audit log, which all services write.

Several instances may do it at once: one of them does it, the others have nothing to do.
"""

import asyncio
import random

import structlog

from services.health.database import FAILURES, Database
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

INTERVAL = 3_600.0
RETRY_AFTER = 60.0
DAYS_AHEAD = 3
LONGEST = 60.0
"""Seconds that dropping and deleting may take."""

_QUERIES = load_queries("services.health", "sql/maintenance.sql")

log = structlog.get_logger()


class Retention:
    """Keeps the tables of the schemas `health` and `telemetry`, and the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Do it again and again; for a background task, which must not end."""
        await self._database.wait_connected()
        while True:
            pause = INTERVAL
            try:
                await self.run_once()
            except FAILURES as error:
                log.warning("old_telemetry_not_deleted", error=str(error))
                pause = RETRY_AFTER
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    async def run_once(self) -> tuple[int, int]:
        """Do it; returns how many partitions it made, and how many days and rows it deleted.

        Raises DatabaseError.
        """
        # Apart, so that deleting cannot keep the next days from having their partitions.
        made = await self._do("ensure_partitions", DAYS_AHEAD)
        deleted = await self._do("cleanup")
        if await self._do("find_audit_log"):
            deleted += await self._do("cleanup_audit_log")
        if made or deleted:
            log.info("telemetry_kept", partitions_made=made, deleted=deleted)
        return made, deleted

    async def _do(self, query: str, *arguments: int) -> int:
        async def work(connection: Connection) -> int:
            if not (await connection.fetchrow(_QUERIES["begin_upkeep"]))[0]:
                return 0
            return int(await connection.fetchval(_QUERIES[query], *arguments, timeout=LONGEST))

        return await self._database.run(work, within=LONGEST)
