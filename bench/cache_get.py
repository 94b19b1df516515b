"""Server CPU of a cache hit, as a ratio to a bare grpc.aio echo of the same message."""

import asyncio
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bench.report import Row
from bench.server import Server, serve
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

VALUE = b"x" * 100
CALLERS = 32  # as many as the figures of docs and research were taken with
CALLS_PER_CALLER = 150
ROUNDS = 6
BAR = 2.0


async def run() -> list[Row]:
    """Alternate rounds between the two servers, so that a busy neighbour disturbs both."""
    cache_port, echo_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        redis = RedisServer(Path(directory) / "redis")
        await redis.start()
        environment = {
            "MAINSTAY_REDIS_URL": redis.url,
            "MAINSTAY_CACHE_PORT": str(cache_port),
            "MAINSTAY_CACHE_OPS_PORT": str(free_port()),
        }
        try:
            async with (
                serve("services.cache", cache_port, environment) as cache,
                serve("bench.echo_server", echo_port, {"BENCH_PORT": str(echo_port)}) as echo,
            ):
                return [_row(await _compare(cache, echo))]
        finally:
            await redis.stop()


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


def _row(rounds: list[tuple[float, float, float]]) -> Row:
    floor = statistics.median(floor for floor, _, _ in rounds)
    ours = statistics.median(ours for _, ours, _ in rounds)
    ratio = statistics.median(ours / floor for floor, ours, _ in rounds)
    return Row(
        what="server CPU of a cache Get hit against a bare grpc.aio echo",
        bar=f"≤ {BAR:.1f} ×",
        measured=f"{ratio:.2f} ×",
        met=ratio <= BAR,
        note=f"{ours:.0f} µs against {floor:.0f} µs",
    )
