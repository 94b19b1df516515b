"""One request and the answer to it, on its way out."""

import logging
import time
from typing import Any
from urllib.parse import quote

from mainstay.errors import MainstayError
from mainstay.middleware import sentry
from mainstay.middleware.answers import Answer, failure
from mainstay.middleware.web_request import Message, Send, WebRequest
from mainstay.ratelimit.results import Decision

_log = logging.getLogger("mainstay.web")

_MAX_PATH = 500
_SERVER_ERROR = 500
# By its name, because nothing of Starlette is imported here.
_LEFT = ("starlette.requests", "ClientDisconnect")
# Somebody who left before there was an answer; nginx's number for it.
_NO_ANSWER = 499


class Exchange:
    """Adds to the answer what every answer has, and knows how it ended.

    Attributes:
        request_id: The id of the request.
        decision: What the rate limits decided, once they did.

    """

    def __init__(self, request: WebRequest, request_id: str, send: Send) -> None:
        self._request = request
        self._send = send
        self._began = time.perf_counter()
        self._timings: dict[str, float] = {}
        self._status = _NO_ANSWER
        self._started = False
        self._reason = ""
        self.request_id = request_id
        self.decision: Decision | None = None

    async def send(self, message: Message) -> None:
        """Send one message of the application's answer."""
        if message["type"] == "http.response.start":
            self._started = True
            self._status = message["status"]
            headers = list(message.get("headers", ()))
            message = {**message, "headers": headers + self._own_headers(headers)}
        await self._send(message)

    def _own_headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return what is added: what the application said itself stands."""
        known = {name.lower() for name, _ in given}
        own = {"x-request-id": self.request_id}
        if self.decision is not None:
            own |= self.decision.headers
        headers = [
            (name.encode(), value.encode())
            for name, value in own.items()
            if name.encode() not in known
        ]
        self.note_timing("total", self._began)
        timings = (f"{name};dur={value * 1000:.1f}" for name, value in self._timings.items())
        return [*headers, (b"server-timing", ", ".join(timings).encode())]

    def note_timing(self, name: str, since: float) -> None:
        """Tell in `server-timing` how long something took, from a moment of `time.perf_counter`."""
        self._timings[name] = time.perf_counter() - since

    async def answer(self, answer: Answer) -> None:
        """Send an answer in the application's stead."""
        body = answer.body()
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "cache-control": "no-store",
            **answer.headers,
        }
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send(
            {"type": "http.response.start", "status": answer.status, "headers": encoded}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def fail(self, error: Exception) -> None:
        """Answer for an error that the application did not handle.

        An answer that has begun cannot become another one: then the error goes on to the server,
        which breaks the connection. Who left in the middle of a request gets none.
        """
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            (error,) = error.exceptions  # what one task of a group raised
        kind = type(error)
        if (kind.__module__, kind.__name__) == _LEFT:
            self._reason = kind.__name__
            return
        if isinstance(error, MainstayError):
            self._reason = error.reason
        else:
            self._reason = kind.__name__
            sentry.report(error)
            _log.error("request failed: %s", self._line(), exc_info=error, extra=self._fields())
        if self._started:
            raise error
        await self.answer(failure(error, self.request_id))

    def log(self) -> None:
        """Write the line of the request."""
        level = logging.WARNING if self._status >= _SERVER_ERROR else logging.INFO
        if not _log.isEnabledFor(level):
            return
        reason = f" {self._reason}" if self._reason else ""
        fields = self._fields()
        _log.log(
            level,
            "request finished: %s -> %d%s in %.1f ms request_id=%s",
            self._line(),
            self._status,
            reason,
            fields["duration_ms"],
            self.request_id,
            extra=fields,
        )

    def _line(self) -> str:
        # Encoded: a line break in a path would forge a line of the log.
        return f"{self._request.method} {quote(self._request.path)[:_MAX_PATH]}"

    def _fields(self) -> dict[str, Any]:
        return {
            "http_method": self._request.method,
            "http_path": self._request.path[:_MAX_PATH],
            "http_status": self._status,
            "reason": self._reason,
            "duration_ms": round((time.perf_counter() - self._began) * 1000, 3),
            "request_id": self.request_id,
        }
