"""PostgreSQL: what operators decided and what happened. No check waits for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from mainstay.errors import ConfigurationError, DatabaseError, MainstayError, PreconditionError
from shared.postgres.bounded import BoundedWork
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant

MIGRATIONS = Migrations(service="ratelimit", package="services.ratelimit")
LONGEST_START = 5.0
LONGEST_RUN = 3.0
"""Seconds: below the deadline of every method that needs PostgreSQL."""
FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0
LONGEST_END = 1.0
"""Seconds that work which is given up has to end."""

T = TypeVar("T")

log = structlog.get_logger()


class Database:
    """A resource that starts without PostgreSQL and connects when it is there.

    Without one at all (`postgres` is None) the service lives from its policy file, and what needs a
    database says so.
    """

    name = "database"

    def __init__(
        self,
        postgres: Postgres | None,
        *,
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._postgres = postgres
        self._report = report
        self._connected = asyncio.Event()
        self._work = BoundedWork()

    @property
    def present(self) -> bool:
        """Return whether there is a database to wait for."""
        return self._postgres is not None

    @property
    def connected(self) -> bool:
        """Return whether it was reached since the start."""
        return self._connected.is_set()

    async def start(self) -> None:
        """Try once, briefly: where the database is there, the service begins with what it holds.

        Raises ConfigurationError for a setting that is refused, and a schema that is behind.
        """
        if self._postgres is not None:
            try:
                async with asyncio.timeout(LONGEST_START):
                    await self._connect(self._postgres)
            except ConfigurationError:
                raise
            except (TimeoutError, MainstayError, asyncpg.PostgresError, OSError) as error:
                log.warning("database_awaited", error=str(error) or type(error).__name__)

    async def close(self) -> None:
        """Disconnect."""
        await self._work.close(LONGEST_END)
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
            except ConfigurationError as error:
                # No longer a reason to stop: checks go on without PostgreSQL.
                log.error("database_awaited", error=error.message)  # noqa: TRY400 - says it all
            except (MainstayError, asyncpg.PostgresError, OSError) as error:
                log.debug("database_awaited", error=str(error))
        await asyncio.Event().wait()

    async def wait_connected(self) -> None:
        """Return once PostgreSQL was reached; never without one."""
        await self._connected.wait()

    async def run(self, tenant: Tenant, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction as `Postgres.run` does, for `LONGEST_RUN` seconds at most.

        Raises DatabaseError while PostgreSQL is away, and PreconditionError `NO_DATABASE` where the
        service has none. After DatabaseError it is not known whether the work was done.
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
        try:
            found = await self._work.run(LONGEST_RUN, self._postgres.run(tenant, work))
        except DatabaseError as error:
            self._report(f"PostgreSQL does not answer: {error.message}")
            raise
        self._report(None)
        return found

    async def _connect(self, postgres: Postgres) -> None:
        await postgres.start()
        self._connected.set()
