"""PostgreSQL: what operators decided and what happened. No check waits for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from mainstay.errors import DatabaseError, MainstayError, PreconditionError
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant

MIGRATIONS = Migrations(service="ratelimit", package="services.ratelimit")
LONGEST_START = 5.0
FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0

T = TypeVar("T")

log = structlog.get_logger()


class Database:
    """A resource that starts without PostgreSQL and connects when it is there.

    Without one at all (`postgres` is None) the service lives from its policy file, and what needs a
    database says so.
    """

    name = "database"

    def __init__(self, postgres: Postgres | None) -> None:
        self._postgres = postgres
        self._connected = asyncio.Event()

    @property
    def present(self) -> bool:
        """Return whether there is a database to wait for."""
        return self._postgres is not None

    @property
    def connected(self) -> bool:
        """Return whether it was reached since the start."""
        return self._connected.is_set()

    async def start(self) -> None:
        """Try once, briefly: where the database is there, the service begins with what it holds."""
        if self._postgres is not None:
            try:
                async with asyncio.timeout(LONGEST_START):
                    await self._connect(self._postgres)
            except (TimeoutError, MainstayError, asyncpg.PostgresError, OSError) as error:
                log.warning("database_awaited", error=str(error) or type(error).__name__)

    async def close(self) -> None:
        """Disconnect."""
        if self._postgres is not None:
            await self._postgres.close()

    async def run_connecting(self) -> None:
        """Connect, trying again and again; for a background task, which must not end."""
        wait = FIRST_WAIT
        while self._postgres is not None and not self.connected:
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                await self._connect(self._postgres)
            except (MainstayError, asyncpg.PostgresError, OSError) as error:
                log.debug("database_awaited", error=str(error))
        await asyncio.Event().wait()

    async def wait_connected(self) -> None:
        """Return once PostgreSQL was reached; never without one."""
        await self._connected.wait()

    async def run(self, tenant: Tenant, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction as `Postgres.run` does.

        Raises DatabaseError while PostgreSQL is away, and PreconditionError `NO_DATABASE` where the
        service has none.
        """
        if self._postgres is None:
            raise PreconditionError(
                "this service was started without PostgreSQL, which this needs; set "
                "MAINSTAY_POSTGRES_URL and start it again",
                reason="NO_DATABASE",
            )
        if not self.connected:
            raise DatabaseError(
                "PostgreSQL was not reached yet since this service started; retry with backoff",
                retry_after=1.0,
            )
        return await self._postgres.run(tenant, work)

    async def _connect(self, postgres: Postgres) -> None:
        try:
            await postgres.start()
        except BaseException:
            await postgres.close()
            raise
        self._connected.set()
