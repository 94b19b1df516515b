"""The files that the URL of a PostgreSQL names for TLS."""

from pathlib import Path
from urllib.parse import parse_qs

from mainstay.errors import ConfigurationError

_FILES = ("sslrootcert", "sslcert", "sslkey")


def require_files(url: str) -> None:
    """Raise ConfigurationError where one cannot be read.

    The error of connecting would be that of a server that is not there, and be tried again.
    """
    given = parse_qs(url.partition("?")[2])
    for option in _FILES:
        for name in given.get(option, []):
            try:
                with Path(name).open("rb"):
                    pass
            except OSError as error:
                raise ConfigurationError(
                    f"{option} {name} in MAINSTAY_POSTGRES_URL cannot be read ({error.strerror})"
                ) from error
