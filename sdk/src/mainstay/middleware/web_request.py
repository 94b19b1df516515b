"""An HTTP request as ASGI tells it (https://asgi.readthedocs.io, HTTP and WebSocket, 2.3)."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import cached_property
from typing import Any

from mainstay.context import (
    REQUEST_ID_PATTERN,
    TRACEPARENT_PATTERN,
    RequestContext,
    new_request_id,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_MAX_TRACESTATE = 512


class WebRequest:
    """What a request says of itself.

    Attributes:
        scope: All that ASGI tells of it.
        method: Such as `GET`; `WEBSOCKET` for a connection that is to become one.
        path: Decoded, without the query.

    """

    def __init__(self, scope: Scope) -> None:
        """Read from an ASGI scope."""
        self.scope = scope
        self.method: str = scope.get("method", "WEBSOCKET")
        self.path: str = scope["path"]

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Return the headers by their names in lower case; of one that is there twice the last."""
        return {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in self.scope["headers"]
        }

    @property
    def client(self) -> str | None:
        """Return the address of who is at the other end, as far as the server knows it."""
        client = self.scope.get("client")
        return str(client[0]) if client else None

    def context(self) -> RequestContext:
        """Return the context of calls on behalf of the request.

        Its id is taken from `x-request-id` if it is fit for one, else made; a broken trace context
        is dropped.
        """
        request_id = self.headers.get("x-request-id", "")
        fit = REQUEST_ID_PATTERN.fullmatch(request_id) is not None
        traceparent = self.headers.get("traceparent", "")
        traced = TRACEPARENT_PATTERN.fullmatch(traceparent) is not None
        tracestate = self.headers.get("tracestate", "")
        carried = traced and tracestate.isascii() and len(tracestate) <= _MAX_TRACESTATE
        return RequestContext(
            request_id=request_id if fit else new_request_id(),
            traceparent=traceparent if traced else None,
            tracestate=tracestate or None if carried and tracestate.isprintable() else None,
        )
