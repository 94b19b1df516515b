"""Web applications on a real HTTP server, in front of a real rate limit service."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from mainstay import Mainstay
from mainstay.context import current
from mainstay.middleware import MainstayMiddleware
from shared.http import HttpServer

POLICY = """\
version: 1
plans: {basic: {}, pro: {}}
limits:
  - {name: chat, endpoints: [/chat], default: 3/h, plans: {basic: 3/h, pro: 6/h}}
  - {name: enforced, endpoints: [enforced], default: 1/h}
  - {name: unlimited, endpoints: [/unlimited], default: unlimited}
  - {name: rest, endpoints: ["*"], default: 100/h}
"""

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
ServeLimits = Callable[[int], AbstractAsyncContextManager[str]]


class Failures:
    """What the route `/fails` raises."""

    error: Exception = RuntimeError("secret text")


async def tell(request: Request) -> JSONResponse:
    """Tell what the application knows of its request."""
    context = current()
    assert context is not None
    decision = request.state.rate_limit
    return JSONResponse(
        {
            "request_id": context.request_id,
            "tenant": context.tenant,
            "traceparent": context.traceparent,
            "tracestate": context.tracestate,
            "state_request_id": request.state.request_id,
            "rule": decision and decision.rule,
            "headers": dict(decision.headers) if decision else {},
        }
    )


async def fails(_: Request) -> JSONResponse:
    """Raise what the test wants."""
    raise Failures.error


async def takes(request: Request) -> JSONResponse:
    """Take what is sent, all of it."""
    return JSONResponse({"size": len(await request.body())})


async def breaks_off(_: Request) -> StreamingResponse:
    """Fail when the answer has begun."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise Failures.error

    return StreamingResponse(parts())


def starlette_app() -> Starlette:
    """Return an application as Starlette's users write it."""
    return Starlette(
        routes=[
            Route("/fails", fails),
            Route("/breaks-off", breaks_off),
            Route("/takes", takes, methods=["POST"]),
            Route("/{path:path}", tell, methods=["GET", "POST", "OPTIONS"]),
        ]
    )


def fastapi_app() -> FastAPI:
    """Return an application as FastAPI's users write it."""
    app = FastAPI()
    app.add_api_route("/fails", _fails_in_fastapi)
    app.add_api_route("/{path:path}", _tell_in_fastapi)
    return app


async def _fails_in_fastapi() -> None:
    raise Failures.error


async def _tell_in_fastapi(request: Request) -> dict[str, Any]:
    return {"request_id": request.state.request_id, "rule": request.state.rate_limit.rule}


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application within the block, and connect to it."""
    server = HttpServer("web", app, "127.0.0.1", 0)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        await server.close()


def serve_with(mainstay: Mainstay) -> Serve:
    """Return what serves an application with the middleware, added as users add it."""

    @asynccontextmanager
    async def serve(
        make: Callable[[], Any] = starlette_app, **options: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = make()
        app.add_middleware(MainstayMiddleware, mainstay=mainstay, **options)
        async with serving(app) as client:
            yield client

    return serve
