"""The operations port of a service: liveness, readiness and metrics over plain HTTP."""

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.rpc.health import HealthRegistry

_NO_STORE = {"cache-control": "no-store"}


def operations_app(
    service: str, health: HealthRegistry, conditions: Mapping[str, str] | None = None
) -> Starlette:
    """Return the application: `/livez`, `/readyz`, `/metrics`.

    Readiness says whether this instance takes calls. What it depends on has no say in it: a Redis
    that is gone would else take every replica out at once. `conditions` are problems by name that
    somebody should look at; `/readyz` shows them, and they have no say either.
    """

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

    async def metrics(_: Request) -> Response:
        body = generate_latest(REGISTRY)
        return Response(body, headers=_NO_STORE, media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", live, methods=["GET", "HEAD"]),
            Route("/readyz", ready, methods=["GET", "HEAD"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )
