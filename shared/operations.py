"""The operations port of a service: liveness, readiness and metrics over plain HTTP."""

from collections.abc import Mapping

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.http_gate import HttpGate
from shared.identity.scopes import OPERATIONS_READ
from shared.rpc.health import HealthRegistry

_METHODS = ["GET", "HEAD", "OPTIONS"]
_NO_STORE = {"cache-control": "no-store"}


def operations_app(
    service: str,
    health: HealthRegistry,
    conditions: Mapping[str, str] | None = None,
    gate: HttpGate | None = None,
) -> Starlette:
    """Return the application: `/livez`, `/readyz`, `/startupz`, `/metrics`.

    Readiness says whether this instance takes calls. What it depends on has no say in it: a Redis
    that is gone would else take every replica out at once. `conditions` are problems by name that
    somebody should look at; `/readyz` shows them, and they have no say either. Once started, an
    instance stays started. Metrics are for those who have the scope `operations:read`. OPTIONS of
    `/` is what HAProxy asks when it is not told what to ask.
    """
    gate = gate or HttpGate()

    async def live(_: Request) -> Response:
        return JSONResponse({"service": service, "status": "alive"}, headers=_NO_STORE)

    async def ready(_: Request) -> Response:
        serving = health.serving
        status: dict[str, object] = {
            "service": service,
            "status": "ready" if serving else "not ready",
        }
        if conditions:
            status["conditions"] = dict(conditions)
        return JSONResponse(
            status,
            status_code=200 if serving else 503,
            headers=_NO_STORE,
        )

    async def startup(_: Request) -> Response:
        status = {"service": service, "status": "started" if health.started else "starting"}
        return JSONResponse(status, status_code=200 if health.started else 503, headers=_NO_STORE)

    async def metrics(request: Request) -> Response:
        if (refusal := await gate.refusal(request, OPERATIONS_READ)) is not None:
            return refusal
        # Only OpenMetrics has exemplars, and only who asks for it understands it.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers=_NO_STORE, media_type=content_type)

    app = Starlette(
        routes=[
            Route("/livez", live, methods=_METHODS),
            Route("/readyz", ready, methods=_METHODS),
            Route("/startupz", startup, methods=_METHODS),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/", ready, methods=["OPTIONS"]),
        ]
    )
    # Several pollers take a redirect for health.
    app.router.redirect_slashes = False
    return app
