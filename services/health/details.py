"""Who may see the details of the HTTP documents."""

from collections.abc import Callable
from hmac import compare_digest
from ipaddress import ip_address

from pydantic import SecretStr
from starlette.requests import Request

MayRead = Callable[[Request], bool]
"""Tells whether a request may see the details."""


def details_for(token: SecretStr | None, *, host: str) -> MayRead:
    """Return the rule: bearers of the token; without one everybody who can reach loopback."""
    if token is None:
        trusted = is_loopback(host)
        return lambda _: trusted
    expected = b"Bearer " + token.get_secret_value().encode()

    def bears_token(request: Request) -> bool:
        # As bytes: compare_digest takes no text beyond ASCII, and a header may hold any.
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        return compare_digest(given, expected)

    return bears_token


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
