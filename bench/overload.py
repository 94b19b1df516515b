"""What becomes of calls when three times as many come as can be served."""

import asyncio
from dataclasses import dataclass

from bench.overload_load import PATH, Outcome, load
from bench.pace import offer, percentile
from bench.report import OURS, Comparison, Findings
from bench.server import Server
from bench.target import Connection, cache_service
from mainstay.cache.client import CacheClient
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc

TIMES = 3
BAR = 3.0
SECONDS = 8.0
CALM_SHARE = 0.1
HEALTH_RATE = 20
HEALTH_BAR = 200.0
SHED_BAR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What one flood found: of the load, of health meanwhile in milliseconds, and of the server."""

    load: Outcome
    health: list[float]
    cpu: float


async def run() -> Findings:
    """Find out what it can, then offer it a tenth of that, and three times."""
    async with cache_service() as target, Connection(target.address) as channel:
        await CacheClient(channel).set("overload", "k", b"x" * 100)
        await load(target.address, rate=0, seconds=2.0)
        full = await load(target.address, rate=0, seconds=4.0)
        capacity = len(full.served) / full.seconds
        calm = await flood(target.service, channel, rate=capacity * CALM_SHARE)
        over = await flood(target.service, channel, rate=capacity * TIMES)
        after = await flood(target.service, channel, rate=capacity * CALM_SHARE)
    note = (
        f"Overload: {PATH.rpartition('/')[2]} of 100 bytes, one process of the service, callers in "
        f"a process of their own on 8 connections, open loop, {SECONDS:g} s each; latency counts "
        f"from when a call was due. Capacity {capacity:.0f} calls/s with 64 under way; unloaded is "
        f"{CALM_SHARE:.0%} of it. Health is asked {HEALTH_RATE} times a second on a connection of "
        f"its own. CPU of the service at {TIMES} ×: {over.cpu:.0%} of a core."
    )
    return Findings(rows=rows(calm, over, after, capacity), note=note)


async def flood(service: Server, channel: Connection, *, rate: float) -> Flood:
    """Offer calls at a rate and ask for health meanwhile."""
    stub = health_pb2_grpc.HealthStub(channel.raw)

    async def ask(_: int) -> None:
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)

    before = service.cpu_seconds()
    found, health = await asyncio.gather(
        load(service.address, rate=rate, seconds=SECONDS),
        offer(ask, rate=HEALTH_RATE, seconds=SECONDS),
    )
    cpu = (service.cpu_seconds() - before) / SECONDS
    return Flood(load=found, health=health, cpu=cpu)


def rows(calm: Flood, over: Flood, after: Flood, capacity: float) -> list[Comparison]:
    """Return the figures."""
    unloaded, loaded = percentile(calm.load.served, 99), percentile(over.load.served, 99)
    offered = len(over.load.served) + len(over.load.shed) + over.load.failed
    goodput = len(over.load.served) / SECONDS
    health = percentile(over.health, 99)
    back = percentile(after.load.served, 99)
    ratio = loaded / unloaded
    return [
        _row("capacity, calls/s", f"{capacity:.0f}"),
        _row("p99 unloaded, ms", f"{unloaded:.1f}"),
        _row(f"{TIMES} × capacity: p99 of accepted, ms", f"{loaded:.1f}"),
        _row("  against unloaded", f"{ratio:.1f} ×", f"< {BAR:g} ×", met=ratio < BAR),
        _row("  accepted, calls/s", f"{goodput:.0f}"),
        _row("  shed", f"{len(over.load.shed) / offered:.0%}"),
        _row(
            "  of those with pushback",
            f"{over.load.pushed_back / max(1, len(over.load.shed)):.0%}",
        ),
        _row("  shed after, p50; p99, ms", _both(over.load.shed)),
        _row("  neither", f"{over.load.failed + over.load.unanswered}"),
        _row("  health p99, ms", f"{health:.0f}", f"< {HEALTH_BAR:g}", met=health < HEALTH_BAR),
        _row("afterwards p99, ms", f"{back:.1f}"),
    ]


def _both(values: list[float]) -> str:
    return f"{percentile(values, 50):.1f}; {percentile(values, 99):.1f}" if values else "none"


def _row(what: str, figure: str, bar: str = "", *, met: bool | None = None) -> Comparison:
    return Comparison(what=what, bar=bar, met=met, figures={OURS: figure})
