"""The PostgreSQL pool of a process: tenants, bounded waits, retries of what is transient."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

import asyncpg
import structlog

from mainstay.errors import DatabaseError
from shared.postgres.connection import PooledConnection
from shared.postgres.errors import translate, translate_connecting
from shared.postgres.migrations import Migrations
from shared.postgres.tls import require_files
from shared.rpc.call import Tenant
from shared.telemetry import metrics, tracing

CONNECT_TIMEOUT = 5.0
ACQUIRE_TIMEOUT = 2.0
MAX_ATTEMPTS = 3
RETRY_WITHIN = 1.5
"""Longer than PostgreSQL takes to notice a deadlock (1 s), shorter than a statement may wait."""
FIRST_BACKOFF = 0.05
NOTABLE_WAIT = 0.001
"""Seconds of waiting for a connection that have a span in a call's trace."""
WAIT = "(wait for a connection)"
IDLE_TRANSACTION_TIMEOUT = "5s"
"""A process that is frozen, or cut off without a word, keeps what it has locked from others for no
longer. Without this PostgreSQL waits for it, or for TCP's keepalives, which is two hours."""
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}|\*")

Connection: TypeAlias = asyncpg.Connection
T = TypeVar("T")

log = structlog.get_logger()


class _WithoutTraceback(logging.Filter):
    """Makes one line of what asyncpg says while it cannot connect: the trace is its own code's."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args = "%s: %s", (record.getMessage(), record.exc_info[1])
            record.exc_info = None
        return True


logging.getLogger("asyncpg.pool").addFilter(_WithoutTraceback())


class Postgres:
    """A resource: transactions in the name of a tenant.

    Every wait is bounded: for a connection by 2 s, for a statement by `command_timeout`.
    `session_settings` are PostgreSQL's own, such as `jit`, for every connection. Foreign
    errors of a transient kind leave as `DatabaseError`; constraint violations and the like leave as
    asyncpg raised them, for the store that knows what they mean.
    """

    name = "postgres"

    def __init__(
        self,
        url: str,
        *,
        migrations: Migrations | None = None,
        migrate: bool = True,
        max_size: int = 10,
        command_timeout: float = 2.0,
        session_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._migrations = migrations
        self._migrate = migrate
        self._max_size = max_size
        self._command_timeout = command_timeout
        self._session_settings = {
            "application_name": "mainstay",
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT,
            **(session_settings or {}),
        }
        self._pool: asyncpg.Pool[Any] | None = None

    async def start(self) -> None:
        """Apply pending migrations and connect; raises DatabaseError while that is impossible.

        After an error nothing is left open: it may be called again.
        """
        require_files(self._url)
        if self._migrations is not None:
            await (self._migrations.apply if self._migrate else self._migrations.verify)(self._url)
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=self._max_size,
                command_timeout=self._command_timeout,
                timeout=CONNECT_TIMEOUT,
                connection_class=PooledConnection,
                server_settings=self._session_settings,
            )
        except Exception as error:
            raise translate_connecting(error) or error from error
        _pools.add(self)
        try:
            await self._warn_of_superuser()
        except BaseException:
            await self.close()
            raise

    async def _warn_of_superuser(self) -> None:
        async with self._connection() as connection:
            role = await connection.fetchrow(
                "SELECT rolname, rolsuper OR rolbypassrls AS unbound FROM pg_roles "
                "WHERE rolname = current_user"
            )
        if role["unbound"]:
            log.warning(
                "tenants_not_separated",
                role=role["rolname"],
                error="row-level security does not bind a superuser; use an ordinary role",
            )

    async def close(self) -> None:
        """Close all connections; those still in use are cut after a moment."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CONNECT_TIMEOUT)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("postgres_pool_cut", error=str(error))
            pool.terminate()

    @property
    def size(self) -> int:
        """Return how many connections are open."""
        return 0 if self._pool is None else self._pool.get_size()

    async def ping(self) -> float:
        """Return the seconds that one query takes."""
        began = time.perf_counter()
        async with self._connection() as connection:
            await connection.execute("SELECT 1")
        return time.perf_counter() - began

    @asynccontextmanager
    async def transaction(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """Run a block in one transaction that sees the rows of `tenant` only; `*` sees all."""
        if not _TENANT.fullmatch(tenant):
            raise ValueError(f"not a tenant: {tenant!r}")
        began = time.perf_counter()
        try:
            async with self._connection() as connection:
                try:
                    # One message for both; the name was checked above and needs no quoting.
                    await connection.begin(f"BEGIN; SET LOCAL mainstay.tenant = '{tenant}'")
                    yield connection
                    ended = await connection.execute("COMMIT")
                except TimeoutError:
                    # It would not take a ROLLBACK either: no second wait.
                    _cut(connection)
                    raise
                except BaseException:
                    await _roll_back(connection)
                    raise
                if ended != "COMMIT":
                    raise RuntimeError(
                        "a statement failed and its error was ignored, so nothing was committed; "
                        "let errors leave the transaction, or use a savepoint"
                    )
        finally:
            metrics.postgres_seconds.observe(time.perf_counter() - began)

    async def run(self, tenant: Tenant, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again after a transient error, three times at most.

        The answer to a commit can be lost after it took effect, so `work` must be safe to repeat.
        """
        began = time.monotonic()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self.transaction(tenant) as connection:
                    return await work(connection)
            except DatabaseError:
                # What took long to fail is no blip, and the caller's time runs too.
                if attempt == MAX_ATTEMPTS or time.monotonic() - began > RETRY_WITHIN:
                    raise
                metrics.postgres_retries.inc()
                backoff = FIRST_BACKOFF * 2.0**attempt
                await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def listen_connection(self) -> AsyncIterator[Connection]:
        """Open a connection of its own, outside the pool, for LISTEN."""
        try:
            connection = await asyncpg.connect(
                self._url, timeout=CONNECT_TIMEOUT, command_timeout=self._command_timeout
            )
        except Exception as error:
            raise translate_connecting(error) or error from error
        try:
            yield connection
        finally:
            connection.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise DatabaseError("the PostgreSQL pool is not connected; retry with backoff")
        began = time.perf_counter()
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                _note_wait(time.perf_counter() - began)
                metrics.postgres_pool_in_use.inc()
                try:
                    yield connection
                finally:
                    metrics.postgres_pool_in_use.dec()
        except Exception as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # What went wrong while it was given up must not pass for an error of the database,
                # after which callers go on.
                raise asyncio.CancelledError from error
            translated = translate(error)
            if translated is None:
                raise
            raise translated from error


_pools: WeakSet[Postgres] = WeakSet()
metrics.postgres_pool_size.set_function(lambda: sum(pool.size for pool in _pools))


def _note_wait(seconds: float) -> None:
    metrics.postgres_pool_wait.observe(seconds)
    if seconds > NOTABLE_WAIT and (recording := tracing.recording()) is not None:
        attributes = {"db.system.name": "postgresql", "db.operation.name": WAIT}
        recording.add(WAIT, seconds=seconds, attributes=attributes)


async def _roll_back(connection: Connection) -> None:
    """Leave the transaction; a connection that cannot is of no use to anybody."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        _cut(connection)
        if not isinstance(error, Exception):
            raise  # cancelled once more
        log.warning("postgres_rollback_failed", error=str(error))


def _cut(connection: Connection) -> None:
    """Drop a connection; one that was lost may be the pool's again already."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
