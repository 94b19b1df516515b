"""Who may read what over plain HTTP: bearers of a key or a token, as of calls over gRPC.

Certificates of clients say nothing here: uvicorn does not tell which one a request came with.
"""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mainstay.errors import AuthenticationError, AuthorizationError, MainstayError, UnavailableError
from shared.identity.principal import ANYBODY, Principal
from shared.rpc.gate import check_scope


class Bearers(Protocol):
    """Knows callers by their `Authorization` header."""

    async def find_bearer(self, authorization: str) -> Principal:
        """Return who that is; waits for a second at most.

        Raises AuthenticationError for nobody, UnavailableError when that cannot be found out now.
        """
        ...


class HttpGate:
    """Asks for scopes; without `bearers` everybody has all of them."""

    def __init__(self, bearers: Bearers | None = None) -> None:
        self._bearers = bearers

    @property
    def is_open(self) -> bool:
        """Return whether everybody has all scopes."""
        return self._bearers is None

    async def allows(self, request: Request, scope: str) -> bool:
        """Return whether the one who asks has the scope."""
        return await self.refusal(request, scope) is None

    async def refusal(self, request: Request, scope: str) -> Response | None:
        """Return the answer to one who has not the scope, None to one who has."""
        try:
            check_scope(await self._who(request), scope, request.url.path)
        except (AuthenticationError, AuthorizationError, UnavailableError) as error:
            return _answer(error)
        return None

    async def _who(self, request: Request) -> Principal:
        if self._bearers is None:
            return ANYBODY
        return await self._bearers.find_bearer(request.headers.get("authorization", ""))


def _answer(error: MainstayError) -> Response:
    headers = {"cache-control": "no-store"}
    if isinstance(error, AuthenticationError):
        headers["www-authenticate"] = 'Bearer realm="mainstay"'
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    body = {"reason": error.reason, "message": error.message}
    return JSONResponse(body, status_code=error.http_status, headers=headers)
