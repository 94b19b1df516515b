"""Connections to the database of an outbox, and its errors as ours: all that knows asyncpg."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias

from mainstay.errors import ConfigurationError, DatabaseError, MainstayError, PreconditionError

try:
    import asyncpg
    from asyncpg import exceptions
except ModuleNotFoundError as missing:
    raise ImportError(
        "mainstay.outbox needs asyncpg; install the extra: pip install 'mainstay[outbox]'"
    ) from missing

Connection: TypeAlias = asyncpg.Connection

CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 1.0
COMMAND_TIMEOUT = 10.0
_SETTINGS = {
    "application_name": "mainstay-outbox",
    # A relay that was stopped in the middle of a batch holds it no longer than this. What it has
    # sent is sent again by another, without effect.
    "idle_in_transaction_session_timeout": "60s",
    # Plans are made on an empty table and kept.
    "enable_seqscan": "off",
    "jit": "off",
}
_AWAY = (
    exceptions.PostgresConnectionError,
    exceptions.OperatorInterventionError,
    exceptions.InsufficientResourcesError,
    exceptions.TransactionRollbackError,
    exceptions.LockNotAvailableError,
    exceptions.IdleInTransactionSessionTimeoutError,
    # A failover has left us with a standby.
    exceptions.ReadOnlySQLTransactionError,
    exceptions.InvalidCachedStatementError,
    # asyncpg lost track of a connection, as it does when the server ends one.
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_REFUSED = (
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
)
_NOT_THERE = (
    exceptions.InvalidSchemaNameError,
    exceptions.UndefinedTableError,
    exceptions.UndefinedFunctionError,
    exceptions.UndefinedColumnError,
)


@asynccontextmanager
async def connected(url: str, schema: str) -> AsyncIterator[Connection]:
    """Connect within the block; errors of PostgreSQL leave it as ours.

    Raises DatabaseError while the database is away, ConfigurationError for a URL, a role or a right
    that must be corrected, PreconditionError when there is no such outbox.
    """
    with translated(schema):
        try:
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=COMMAND_TIMEOUT,
                server_settings=_SETTINGS,
            )
        except (ValueError, exceptions.ClientConfigurationError):
            # Not `from` it: its text quotes a part of the URL, which may be one of the password.
            raise ConfigurationError(
                "the URL of the outbox's database is none of PostgreSQL; write "
                "postgresql://user:password@host:5432/database, with %-escapes for characters of "
                "the password that have a meaning in URLs"
            ) from None
        try:
            yield connection
        except BaseException:
            # Not a polite goodbye, which has to wait for a server that may be gone.
            connection.terminate()
            raise
        with suppress(asyncpg.InterfaceError, OSError):
            await connection.close(timeout=CLOSE_TIMEOUT)


@contextmanager
def translated(schema: str) -> Iterator[None]:
    """Have errors of PostgreSQL leave the block as ours."""
    try:
        yield
    except MainstayError:
        raise
    except (*_AWAY, exceptions.PostgresError) as error:
        raise _translate(error, schema) from error


def _translate(error: Exception, schema: str) -> MainstayError:
    said = str(error) or type(error).__name__
    match error:
        case exceptions.PostgresError() if isinstance(error, _NOT_THERE):
            return PreconditionError(
                f"there is no outbox {schema} in this database, or one of an older version "
                f"({said}); `mainstay jobs outbox install` installs and upgrades it",
                reason="OUTBOX_NOT_INSTALLED",
            )
        case exceptions.InsufficientPrivilegeError():
            return ConfigurationError(
                f"the role lacks a right for the outbox {schema}: {said}; install with a role that "
                "may create schemas, relay with one that was named by --relay-role"
            )
        case exceptions.DependentObjectsStillExistError():
            return PreconditionError(
                f"something else stands on the outbox {schema} ({said}: {error.detail}); remove "
                "that first",
                reason="OUTBOX_IN_USE",
            )
        case exceptions.PostgresError() if isinstance(error, _REFUSED):
            return ConfigurationError(f"PostgreSQL refused the URL of the outbox: {said}")
        case _ if isinstance(error, _AWAY):
            return DatabaseError(
                f"the database of the outbox cannot be used now ({said}); retry with backoff",
                metadata={"dependency": "postgres"},
            )
        case _:
            return ConfigurationError(f"PostgreSQL refused what the outbox {schema} needs: {said}")
