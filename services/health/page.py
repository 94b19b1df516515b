"""The routes of the status page: `/` for people, `/events` for pages that are open."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.health.changes import Changes
from services.health.details import MayRead
from services.health.live import Streams
from services.health.page_board import SCRIPT, STYLE, Board, Sources
from services.health.prober import utc_now


def page_routes(
    sources: Sources,
    changes: Changes,
    *,
    sees_details: MayRead,
    streams: Streams | None = None,
    wall: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
) -> list[BaseRoute]:
    """Return the routes.

    `sees_details` says who is shown replicas and request ids. All others share one rendering, and
    so do those who see them.
    """
    streams = streams or Streams(changes)
    boards = {
        details: Board(
            sources,
            details=details,
            instance=secrets.token_hex(4),
            wall=wall,
            monotonic=monotonic,
        )
        for details in (False, True)
    }

    def expire(*_: object) -> None:
        for board in boards.values():
            board.expire()

    changes.listen(expire)

    async def page(request: Request) -> Response:
        board = boards[await sees_details(request)]
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**_HEADERS, "Content-Encoding": "gzip"} if zipped else _HEADERS
        return Response(board.page(zipped=zipped), headers=headers, media_type="text/html")

    async def events(request: Request) -> Response:
        details = await sees_details(request)
        may_stay = partial(sees_details, request) if details else None
        return streams.respond(request, boards[details].news, _HEADERS, may_stay=may_stay)

    return [Route("/", page, methods=["GET"]), Route("/events", events, methods=["GET"])]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Hashes and not nonces: a page is rendered once for many readers.
_POLICY = (
    "default-src 'none'",
    f"style-src {_hash(STYLE)}",
    f"script-src {_hash(SCRIPT)}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding",
}
