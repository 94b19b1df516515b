"""Health under load while the stores are gone: how soon it answers, and how soon it is right."""

import asyncio
import math
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.health_http_load import Witness, http_load
from bench.pace import offer, percentile
from bench.report import OURS, Comparison, Findings
from bench.server import Server, serve
from bench.target import Connection, echo_server
from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc

RATE = 500
P99_BAR = 10.0
SEEN_BAR = 10.0
WARM_UP = 2.0
SECONDS = 15.0  # of each phase, all of what damping takes in it

Status = pb.HealthCheckResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one phase of load measured; milliseconds, and seconds until the truth was told."""

    http: list[float]
    grpc: list[float]
    truth_after: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A health service, what it probes, and a way to each of its two doors."""

    server: Server
    http_port: int
    stub: "pb_grpc.HealthAsyncStub"
    redis: RedisServer
    postgres: PostgresServer

    async def phase(self, state: str, status: int, change: Callable[[], Awaitable[None]]) -> Phase:
        """Ask both ways at once while something changes, until all is told as it is."""
        witness = Witness(status)

        async def check(_: int) -> None:
            answer = await self.stub.Check(pb.HealthCheckRequest(service="redis"))
            witness.look(answer.status)

        began, cpu = time.perf_counter(), self.server.cpu_seconds()
        http, grpc, changed = await asyncio.gather(
            http_load(self.http_port, rate=RATE, seconds=SECONDS, state=state),
            offer(check, rate=RATE, seconds=SECONDS),
            _timed(change),
        )
        told = [each for each in (http.since, witness.since) if each is not None]
        return Phase(
            http=http.latencies,
            grpc=grpc,
            truth_after=max(0.0, max(told) - changed) if len(told) == 2 else math.inf,
            cpu=(self.server.cpu_seconds() - cpu) / (time.perf_counter() - began),
        )


async def _timed(change: Callable[[], Awaitable[None]]) -> float:
    await change()
    return time.perf_counter()


async def run() -> Findings:
    """Load it, take the stores away, and give them back."""
    async with _stage() as stage:
        await http_load(stage.http_port, rate=RATE, seconds=WARM_UP, state="healthy")

        async def take_away() -> None:
            stage.redis.pause()
            await stage.postgres.stop()

        async def give_back() -> None:
            stage.redis.resume()
            await stage.postgres.start()

        gone = await stage.phase("unhealthy", Status.NOT_SERVING, take_away)
        back = await stage.phase("healthy", Status.SERVING, give_back)
    note = (
        f"Load: {RATE}/s of GET /health from one process, each over a new connection, and at the "
        f"same time {RATE}/s of Check from another, for {SECONDS:g} s from when Redis is stopped "
        "with SIGSTOP and PostgreSQL is shut down, and for as long from when they come back. "
        f"Default settings. CPU of the health service meanwhile: {gone.cpu:.0%} of a core."
    )
    return Findings(rows=_rows(gone, back), note=note)


def _rows(gone: Phase, back: Phase) -> list[Comparison]:
    rows: list[Comparison] = []
    for what, latencies in (("GET /health", gone.http), ("Check", gone.grpc)):
        rows.append(_figure(f"{what} {RATE}/s, stores gone: p50, ms", percentile(latencies, 50)))
        rows.append(_figure("  p99, ms", percentile(latencies, 99), P99_BAR))
        rows.append(_figure("  p99.9, ms", percentile(latencies, 99.9)))
    again = percentile(back.http + back.grpc, 99)
    rows.append(_figure("both while the stores come back: p99, ms", again, P99_BAR))
    rows.append(_figure("both tell that they are gone after, s", gone.truth_after, SEEN_BAR))
    rows.append(_figure("both tell that they are back after, s", back.truth_after, SEEN_BAR))
    return rows


def _figure(what: str, value: float, bar: float | None = None) -> Comparison:
    return Comparison(
        what=what,
        bar="" if bar is None else f"< {bar:g}",
        met=None if bar is None else value < bar,
        figures={OURS: f"{value:.2f}"},
    )


@asynccontextmanager
async def _stage() -> AsyncIterator[Stage]:
    directory = Path(tempfile.mkdtemp(prefix="mainstay-bench-"))
    redis, postgres = RedisServer(directory / "redis"), PostgresServer(directory / "postgres")
    port, http_port = free_port(), free_port()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        await stack.enter_async_context(redis)
        await stack.enter_async_context(postgres)
        # Something that answers for the three services, which need no load of their own.
        echo = await stack.enter_async_context(echo_server())
        environment = {
            "MAINSTAY_REDIS_URL": redis.url,
            "MAINSTAY_POSTGRES_URL": postgres.url,
            "MAINSTAY_HEALTH_PORT": str(port),
            "MAINSTAY_HEALTH_OPS_PORT": "0",
            "MAINSTAY_HEALTH_HTTP_PORT": str(http_port),
            "MAINSTAY_LOG_LEVEL": "error",
            **{
                f"MAINSTAY_HEALTH_{name}_ADDRESS": echo.address
                for name in ("CACHE", "JOBS", "RATELIMIT")
            },
        }
        server = await stack.enter_async_context(serve("services.health", port, environment))
        channel = await stack.enter_async_context(Connection(server.address))
        yield Stage(
            server=server,
            http_port=http_port,
            stub=pb_grpc.HealthStub(channel.raw),
            redis=redis,
            postgres=postgres,
        )
