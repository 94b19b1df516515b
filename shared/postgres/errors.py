"""PostgreSQL's errors as ours, translated at the border."""

import ssl

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
    # This process was frozen in a transaction for so long that its locks were given to others.
    exceptions.IdleInTransactionSessionTimeoutError,
    # A failover has left us with a standby, or a disk or its memory is full.
    exceptions.ReadOnlySQLTransactionError,
    exceptions.InsufficientResourcesError,
    # A migration changed a table under a prepared statement, which is prepared again.
    exceptions.InvalidCachedStatementError,
    # asyncpg lost track of a connection, as it does when the server ends one that was idle.
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
    OSError,
)

_MISCONFIGURED = (
    exceptions.InvalidPasswordError,
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
)

_OF_FILES = {"PEM", "X509"}
"""The parts of OpenSSL that read certificates and keys; others talk to the server."""


def translate(error: BaseException) -> MainstayError | None:
    """Return the error as ours, or None for what only the caller can name."""
    if isinstance(error, _MISCONFIGURED):
        return ConfigurationError(f"PostgreSQL refused MAINSTAY_POSTGRES_URL: {error}")
    # Not so a row that belongs to another tenant, which has the same code and is a fault of ours.
    if isinstance(error, exceptions.InsufficientPrivilegeError) and "permission" in str(error):
        return ConfigurationError(
            f"the role of MAINSTAY_POSTGRES_URL lacks a right: {error}; grant it (see the "
            "service's README), or migrate with a role that owns the database: `mainstay migrate`"
        )
    if isinstance(error, TRANSIENT):
        what = str(error) or type(error).__name__
        return DatabaseError(
            f"PostgreSQL cannot be used now ({what}); retry with backoff",
            metadata={"dependency": "postgres"},
            retry_after=RETRY_AFTER,
        )
    return None


def translate_connecting(error: BaseException) -> MainstayError | None:
    """Return an error of connecting as ours; a URL that makes no sense will not get better."""
    if isinstance(error, exceptions.ClientConfigurationError):
        return ConfigurationError(f"MAINSTAY_POSTGRES_URL cannot be used: {error}")
    if isinstance(error, ssl.SSLCertVerificationError):  # a ValueError too
        return ConfigurationError(
            f"PostgreSQL has a certificate that is not trusted ({error.verify_message}); check "
            "sslrootcert and the host in MAINSTAY_POSTGRES_URL, or renew the certificate"
        )
    if isinstance(error, ssl.SSLError) and error.library in _OF_FILES:
        return ConfigurationError(
            "PostgreSQL was not asked: sslrootcert, sslcert or sslkey in MAINSTAY_POSTGRES_URL "
            f"cannot be used ({error.reason or 'not PEM'})"
        )
    if isinstance(error, ValueError):
        # The text of such an error quotes a part of the URL, which may be a part of the password.
        return ConfigurationError(
            "MAINSTAY_POSTGRES_URL is not a PostgreSQL URL; write "
            "postgresql://user:password@host:5432/database, with %-escapes for characters of the "
            "password that have a meaning in URLs"
        )
    return translate(error)
