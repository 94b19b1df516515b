"""How soon the health service sees that a store is dead, and that it is back."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import OURS, Comparison, Findings
from bench.server import serve
from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.channel import Channel
from mainstay.health import HealthClient, State

ROUNDS = 5
BAR = 10.0
PATIENCE = 60.0
LOOK_EVERY = 0.02


Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a store: what it is called, how it begins and how it ends."""

    what: str
    target: str
    begin: Step
    end: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Seconds until an outage and its end were seen, each from when it was so."""

    seen: float
    recovered: float


async def run() -> Findings:
    """Stop, freeze and start stores under a health service with default settings."""
    rows: list[Comparison] = []
    async with _stage() as (faults, health):
        for fault in faults:
            outages = [await _outage(health, fault, number) for number in range(ROUNDS)]
            rows += [
                _row(f"{fault.what}, until unhealthy, s", [each.seen for each in outages]),
                _row("… and back, until healthy, s", [each.recovered for each in outages]),
            ]
    note = (
        f"Detection: the slowest of {ROUNDS} outages of each kind, begun at different moments "
        "between two probes, with default settings, until GetReport says so. PostgreSQL is stopped "
        "at once: killed, its children would answer on for a while. Back is when it takes "
        "connections again."
    )
    return Findings(rows=rows, note=note)


def _row(what: str, seconds: list[float]) -> Comparison:
    slowest = max(seconds)
    return Comparison(
        what=what, bar=f"< {BAR:g}", met=slowest < BAR, figures={OURS: f"{slowest:.1f}"}
    )


@asynccontextmanager
async def _stage() -> AsyncIterator[tuple[list[Fault], HealthClient]]:
    directory = Path(tempfile.mkdtemp(prefix="mainstay-bench-"))
    redis = RedisServer(directory / "redis")
    postgres = PostgresServer(directory / "postgres")
    port = free_port()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        await stack.enter_async_context(redis)
        await stack.enter_async_context(postgres)
        environment = {
            "MAINSTAY_REDIS_URL": redis.url,
            "MAINSTAY_POSTGRES_URL": postgres.url,
            "MAINSTAY_HEALTH_PORT": str(port),
            "MAINSTAY_HEALTH_OPS_PORT": "0",
            "MAINSTAY_HEALTH_HTTP_PORT": "0",
            "MAINSTAY_LOG_LEVEL": "error",
        }
        server = await stack.enter_async_context(serve("services.health", port, environment))
        channel = await stack.enter_async_context(Channel(server.address))
        yield _faults(redis, postgres), HealthClient(channel)


def _faults(redis: RedisServer, postgres: PostgresServer) -> list[Fault]:
    async def freeze() -> None:
        redis.pause()

    async def thaw() -> None:
        redis.resume()

    return [
        Fault(what="Redis killed", target="redis", begin=redis.kill, end=redis.start),
        Fault(what="Redis frozen", target="redis", begin=freeze, end=thaw),
        Fault(
            what="PostgreSQL stopped", target="database", begin=postgres.stop, end=postgres.start
        ),
    ]


async def _outage(health: HealthClient, fault: Fault, number: int) -> Outage:
    await _until(health, fault.target, State.HEALTHY)
    # Rounds of probes are two seconds apart: outages begin all over them.
    await asyncio.sleep(2.0 * number / ROUNDS)
    began = time.monotonic()
    await fault.begin()
    await _until(health, fault.target, State.UNHEALTHY)
    seen = time.monotonic() - began
    await fault.end()
    began = time.monotonic()
    await _until(health, fault.target, State.HEALTHY)
    return Outage(seen=seen, recovered=time.monotonic() - began)


async def _until(health: HealthClient, target: str, state: State) -> None:
    async with asyncio.timeout(PATIENCE):
        while await _state(health, target) is not state:  # noqa: ASYNC110 - latency is measured
            await asyncio.sleep(LOOK_EVERY)


async def _state(health: HealthClient, target: str) -> State:
    report = await health.get_report()
    return next(check.state for check in report.checks if check.name == target)
