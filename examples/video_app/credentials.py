"""Who the application is to Mainstay: by variables, as wherever it is deployed."""

import os
from pathlib import Path

from mainstay import Credentials, Tls


def credentials_of_environment() -> Credentials:
    """Return the key of MAINSTAY_API_KEY, and TLS where one of its files is named.

    MAINSTAY_PLAINTEXT=true lets a key travel without TLS: inside of one machine's containers.
    """
    ca = _path("MAINSTAY_TLS_CA")
    certificate, key = _path("MAINSTAY_TLS_CLIENT_CERTIFICATE"), _path("MAINSTAY_TLS_CLIENT_KEY")
    return Credentials(
        os.environ.get("MAINSTAY_API_KEY") or None,
        tls=Tls(ca=ca, certificate=certificate, key=key) if ca or certificate else None,
        plaintext=os.environ.get("MAINSTAY_PLAINTEXT") == "true",
    )


def _path(variable: str) -> Path | None:
    return Path(value) if (value := os.environ.get(variable)) else None
