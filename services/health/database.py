"""PostgreSQL: history, incidents, maintenance. No report waits for it; it may be away for ever."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from mainstay.errors import DatabaseError, MainstayError
from shared.postgres.bounded import BoundedWork
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS

MIGRATIONS = Migrations(service="health", package="services.health")
SESSION_SETTINGS = {
    # Which index serves depends on what is asked for, and compiling takes longer than any query.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
}
POOL_SIZE = 4
"""The recorder, the history, the maintenances, and whoever asks for a history."""
LONGEST_START = 2.0
LONGEST_RUN = 3.0
"""Seconds: below the deadlines of the methods that need PostgreSQL."""
FAREWELL = 2.0
"""Seconds that a service which stops gives to the last write."""
FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0

FAILURES = (MainstayError, asyncpg.PostgresError, OSError)
"""What a database that is away, behind or out of order answers with: no reason to stop."""
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What does not get better when it is tried again, and would hold up all that comes after."""

T = TypeVar("T")

log = structlog.get_logger()


def history_postgres(url: str, *, migrate: bool) -> Postgres:
    """Return the pool that the health service needs, not yet connected."""
    return Postgres(
        url,
        migrations=MIGRATIONS,
        migrate=migrate,
        max_size=POOL_SIZE,
        session_settings=SESSION_SETTINGS,
    )


class Database:
    """A resource that starts without PostgreSQL and connects when it is there.

    Not even a refused password stops the service: to say that the database is not well is what it
    is for.
    """

    name = "history database"

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._connected = asyncio.Event()
        self._work = BoundedWork()

    @property
    def connected(self) -> bool:
        """Return whether it was reached since the start."""
        return self._connected.is_set()

    async def start(self) -> None:
        """Try once, briefly: where the database is there, the service begins with what it holds."""
        try:
            async with asyncio.timeout(LONGEST_START):
                await self._connect()
        except (*FAILURES, TimeoutError) as error:
            log.warning("database_awaited", error=str(error) or type(error).__name__)

    async def close(self) -> None:
        """Disconnect."""
        await self._work.close(FAREWELL)
        await self._postgres.close()

    async def run_connecting(self) -> None:
        """Connect, trying again and again; for a background task, which must not end."""
        wait = FIRST_WAIT
        while not self.connected:
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                await self._connect()
            except FAILURES as error:
                write = log.debug if getattr(error, "transient", False) else log.error
                write("database_awaited", error=str(error))
        await asyncio.Event().wait()

    async def wait_connected(self) -> None:
        """Return once PostgreSQL was reached."""
        await self._connected.wait()

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, within: float = LONGEST_RUN
    ) -> T:
        """Run `work` in a transaction as `Postgres.run` does, for `within` seconds at most.

        Raises DatabaseError while PostgreSQL is away; it is not known then whether the work was
        done.
        """
        if not self.connected:
            raise DatabaseError(
                "PostgreSQL was not reached yet since this service started; retry with backoff",
                retry_after=1.0,
            )
        return await self._work.run(within, self._postgres.run(ALL_TENANTS, work))

    async def _connect(self) -> None:
        await self._postgres.start()
        self._connected.set()
