"""The cache with all that can be told about it, or nothing; and who it is told to."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bench.target import Target, cache_service
from cli.embedded.postgres import PostgresServer
from cli.ports import free_port
from shared.http import HttpServer
from shared.postgres.migrations import Migrations

HOST = "127.0.0.1"
TELEMETRY = Migrations(service="health", package="services.health")
SCRAPE_EVERY = 1.0


@dataclass(slots=True, kw_only=True)
class Sink:
    """Takes whatever is sent to it; counts the requests by path."""

    url: str = ""
    taken: int = 0

    async def take(self, request: Request) -> Response:
        """Answer as a collector does that has no complaints."""
        with suppress(ClientDisconnect):  # a service that leaves has no time for the last of it
            await request.body()
        self.taken += 1
        return Response(b"", media_type=request.headers.get("content-type"))


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """Run one for OTLP and Sentry until the block ends."""
    taking = Sink()
    app = Starlette(routes=[Route("/{path:path}", taking.take, methods=["POST"])])
    server = HttpServer("sink", app, HOST, 0, setting="")
    await server.start()
    taking.url = f"http://{HOST}:{server.port}"
    try:
        yield taking
    finally:
        await server.close()


@asynccontextmanager
async def postgres() -> AsyncIterator[PostgresServer]:
    """Run a PostgreSQL with the tables of telemetry until the block ends."""
    with tempfile.TemporaryDirectory() as directory:
        async with PostgresServer(Path(directory) / "postgres") as server:
            await TELEMETRY.apply(server.url)
            yield server


@asynccontextmanager
async def telling(url: str, told: Sink) -> AsyncIterator[Target]:
    """Run a cache that tells everything: traces at 10 %, errors, lines, rows, metrics."""
    ops_port = free_port()
    environment = {
        "MAINSTAY_CACHE_OPS_PORT": str(ops_port),
        "MAINSTAY_POSTGRES_URL": url,
        "MAINSTAY_OTLP_ENDPOINT": told.url,
        "MAINSTAY_TRACE_SAMPLE_RATIO": "0.1",
        "MAINSTAY_SENTRY_DSN": f"{told.url.replace('://', '://key@')}/1",
        "MAINSTAY_LOG_LEVEL": "info",
        "MAINSTAY_LOG_FORMAT": "json",
        "MAINSTAY_REQUEST_LOG": "true",
    }
    async with cache_service(environment) as target:
        scraping = asyncio.create_task(_scrape(ops_port))
        try:
            yield target
        finally:
            scraping.cancel()
            await asyncio.gather(scraping, return_exceptions=True)


@asynccontextmanager
async def silent(url: str) -> AsyncIterator[Target]:
    """Run a cache on the same PostgreSQL that tells nothing."""
    environment = {
        "MAINSTAY_POSTGRES_URL": url,
        "MAINSTAY_REQUEST_LOG": "false",
        "MAINSTAY_LOG_LEVEL": "fatal",
    }
    async with cache_service(environment) as target:
        yield target


async def _scrape(port: int) -> None:
    """Read the metrics each second, as Prometheus would at its most eager."""
    while True:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        if not await reader.read():
            raise RuntimeError("the service has no metrics")
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(SCRAPE_EVERY)
