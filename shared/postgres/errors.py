"""PostgreSQL's errors as ours, translated at the border."""

import asyncpg
from asyncpg import exceptions

from mainstay.errors import ConfigurationError, DatabaseError, MainstayError

RETRY_AFTER = 0.5

# The connection or the server went away, or two transactions were in each other's way: the same
# transaction may succeed when it is tried again.
TRANSIENT = (
    exceptions.PostgresConnectionError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.CannotConnectNowError,
    exceptions.TooManyConnectionsError,
    exceptions.SerializationError,
    exceptions.DeadlockDetectedError,
    exceptions.LockNotAvailableError,
    exceptions.QueryCanceledError,
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    OSError,
)

_MISCONFIGURED = (
    exceptions.InvalidPasswordError,
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
)


def translate(error: BaseException) -> MainstayError | None:
    """Return the error as ours, or None for what only the caller can name."""
    if isinstance(error, _MISCONFIGURED):
        return ConfigurationError(f"PostgreSQL refused MAINSTAY_POSTGRES_URL: {error}")
    if isinstance(error, TRANSIENT):
        what = str(error) or type(error).__name__
        return DatabaseError(
            f"PostgreSQL cannot be used now ({what}); retry with backoff",
            metadata={"dependency": "postgres"},
            retry_after=RETRY_AFTER,
        )
    return None
