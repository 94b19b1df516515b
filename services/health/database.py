"""PostgreSQL: history, incidents, maintenance. No report waits for it; it may be away for ever."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg
import structlog

from mainstay.errors import DatabaseError, MainstayError
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
        self._abandoned: set[asyncio.Task[Any]] = set()

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
        abandoned = set(self._abandoned)
        for task in abandoned:
            task.cancel()
        if abandoned:
            await asyncio.wait(abandoned, timeout=FAREWELL)
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
        return await self._within(within, self._postgres.run(ALL_TENANTS, work))

    async def _within(self, seconds: float, running: Coroutine[Any, Any, T]) -> T:
        """Wait for what runs, no longer than this: cancelling it may take as long as itself.

        asyncpg tells a server that it is no longer wanted, and waits for that too.
        """
        task = asyncio.create_task(running, name="database work")
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget_outcome)
        if task.done():
            return task.result()
        raise DatabaseError(
            f"PostgreSQL did not answer within {seconds:g} s; retry with backoff", retry_after=1.0
        )

    async def _connect(self) -> None:
        try:
            await self._postgres.start()
        except BaseException:
            await self._postgres.close()
            raise
        self._connected.set()


def _forget_outcome(task: "asyncio.Task[Any]") -> None:
    """Keep the loop from reporting an error that nobody waited for."""
    with suppress(asyncio.CancelledError):
        task.exception()
