"""The answers for load balancers and people with a browser: HTTP, from memory, never from I/O."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.health.document import document
from services.health.rollup import Report
from services.health.state import State

_INVITES_TRAFFIC = {State.HEALTHY, State.DEGRADED}


def http_app(
    *, report: Callable[[], Report], obstacle: Callable[[], str], retry_after: int
) -> Starlette:
    """Return the app.

    `report` returns the current report, `obstacle` says why this instance cannot answer (empty when
    it can), `retry_after` is what a client that was refused should wait, in seconds.
    """

    def respond(body: dict[str, Any], *, ok: bool) -> Response:
        headers = {"Cache-Control": "no-store"}
        if not ok:
            headers["Retry-After"] = str(retry_after)
        return Response(
            orjson.dumps(body),
            status_code=200 if ok else 503,
            headers=headers,
            media_type="application/health+json",
        )

    async def health(_: Request) -> Response:
        current = report()
        return respond(document(current), ok=current.state in _INVITES_TRAFFIC)

    async def livez(_: Request) -> Response:
        # That it is written at all shows that the loop turns.
        return respond({"status": State.HEALTHY.value}, ok=True)

    async def readyz(_: Request) -> Response:
        if reason := obstacle():
            return respond({"status": State.UNHEALTHY.value, "message": reason}, ok=False)
        return respond({"status": State.HEALTHY.value}, ok=True)

    app = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/livez", livez, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
        ]
    )
    # A poller takes a redirect for health; `/health/` is simply not there.
    app.router.redirect_slashes = False
    return app
