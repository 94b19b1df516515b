"""Server CPU of a cache hit, as a ratio to a bare grpc.aio echo of the same message."""

import asyncio
import statistics
import time
from datetime import timedelta

from bench.cache_target import cache_service, echo_server
from bench.report import OURS, Comparison, Findings
from bench.server import Server
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

VALUE = b"x" * 100
CALLERS = 32  # as many as the figures of docs and research were taken with
CALLS_PER_CALLER = 150
ROUNDS = 10
BAR = 1.4


async def run() -> Findings:
    """Alternate rounds between the two servers, so that a busy neighbour disturbs both."""
    async with cache_service() as target, echo_server() as echo:
        return _findings(await _compare(target.service, echo))


async def _compare(cache: Server, echo: Server) -> list[tuple[float, float, float]]:
    async with Channel(cache.address) as to_cache, Channel(echo.address) as to_echo:
        await CacheClient(to_cache).set("bench", "key", VALUE, ttl=timedelta(hours=1))
        rounds = []
        for number in range(ROUNDS + 1):
            floor, _ = await _cost(echo, CacheClient(to_echo))
            ours, rate = await _cost(cache, CacheClient(to_cache))
            if number:  # the first warms up
                rounds.append((floor, ours, rate))
        return rounds


async def _cost(server: Server, client: CacheClient) -> tuple[float, float]:
    """Return CPU microseconds per call, and calls per second."""

    async def caller() -> None:
        for _ in range(CALLS_PER_CALLER):
            await client.get("bench", "key")

    before, began = server.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    calls = CALLERS * CALLS_PER_CALLER
    cpu = (server.cpu_seconds() - before) / calls * 1e6
    return cpu, calls / (time.perf_counter() - began)


def _findings(rounds: list[tuple[float, float, float]]) -> Findings:
    floor = statistics.median(floor for floor, _, _ in rounds)
    ours = statistics.median(ours for _, ours, _ in rounds)
    ratio = statistics.median(ours / floor for floor, ours, _ in rounds)
    row = Comparison(
        what="Get's CPU / an echo's",
        bar=f"≤ {BAR:g} ×",
        met=ratio <= BAR,
        figures={OURS: f"{ratio:.2f} ×"},
    )
    note = (
        f"CPU: the echo is a bare grpc.aio server with the same message, {CALLERS} callers, "
        f"{ROUNDS} turns: {ours:.0f} µs of the service's CPU against {floor:.0f} µs."
    )
    return Findings(rows=[row], note=note)
