"""Who may see the details of the HTTP documents."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest

from pydantic import SecretStr
from starlette.requests import Request

from shared.http_gate import HttpGate
from shared.identity.scopes import HEALTH_READ

MayRead = Callable[[Request], Awaitable[bool]]
"""Tells whether a request may see the details."""


def details_for(token: SecretStr | None, gate: HttpGate) -> MayRead:
    """Return the rule: bearers of the token, and whoever may read health's report over gRPC.

    Where callers do not authenticate, which is on loopback, that is everybody, unless there is a
    token.
    """
    if token is None:
        return lambda request: gate.allows(request, HEALTH_READ)
    expected = b"Bearer " + token.get_secret_value().encode()

    async def bears_token(request: Request) -> bool:
        # As bytes: compare_digest takes no text beyond ASCII, and a header may hold any.
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if compare_digest(given, expected):
            return True
        return not gate.is_open and await gate.allows(request, HEALTH_READ)

    return bears_token
