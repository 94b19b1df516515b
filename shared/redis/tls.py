"""The certificates of a connection to Redis: read again when they change, and what is wrong.

redis-py reads them once for a connection, which reconnects for as long as the process lives. And it
tells a file that is missing and a server that is gone by errors of the same class; what it stumbled
over is their cause.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from redis.asyncio.connection import AbstractConnection, SSLConnection

Ages: TypeAlias = tuple[int, ...]

_WANTS_CERTIFICATE = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
_OF_FILES = {"PEM", "X509"}


def forget_changed_files(connection: AbstractConnection, seen: Ages) -> Ages:
    """Let the next connecting read certificates that changed since `seen`; return their ages now.

    Not each time: with the system's CAs, that holds up the event loop for 30 ms.
    """
    if not isinstance(connection, SSLConnection):
        return ()
    files = (connection.ca_certs, connection.certfile, connection.keyfile)
    now = tuple(_age(file) for file in files if file)
    if now != seen:
        connection.ssl_context.context = None
    return now


def _age(file: str) -> int:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return 0


def what_is_wrong(connection: AbstractConnection, error: BaseException) -> str | None:
    """Return a sentence about TLS that waiting does not heal; None for any other trouble."""
    if not isinstance(connection, SSLConnection):
        return None
    return next((wrong for cause in _causes(error) if (wrong := _wrong(cause))), None)


def _wrong(cause: BaseException) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError(verify_message=why):
            return (
                f"has a certificate that is not trusted ({why}); check ssl_ca_certs and the host "
                "in MAINSTAY_REDIS_URL, or renew the certificate"
            )
        case ssl.SSLError(reason=reason) if reason in _WANTS_CERTIFICATE:
            return (
                "wants a certificate of its clients; add ssl_certfile and ssl_keyfile to "
                "MAINSTAY_REDIS_URL"
            )
        case ssl.SSLError(library=library, reason=reason) if library in _OF_FILES:
            return (
                "was not asked: ssl_ca_certs, ssl_certfile or ssl_keyfile in MAINSTAY_REDIS_URL "
                f"cannot be used ({reason or 'not PEM'})"
            )
        case FileNotFoundError() | PermissionError():
            return (
                "was not asked: ssl_ca_certs, ssl_certfile or ssl_keyfile in MAINSTAY_REDIS_URL "
                f"cannot be read ({cause.strerror})"
            )
        case _:
            return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
