"""Latency of a limit check at 500 calls a second, open loop, one service process."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.report import Row
from bench.server import serve
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.channel import Channel
from mainstay.ratelimit.client import RateLimitClient

RATE = 500
SECONDS = 10
SUBJECTS = 200
BAR_MS = 5.0


async def run() -> list[Row]:
    """Send a check every 2 ms, whether or not the earlier ones were answered."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        redis = RedisServer(Path(directory) / "redis")
        await redis.start()
        environment = {
            "MAINSTAY_REDIS_URL": redis.url,
            "MAINSTAY_RATELIMIT_PORT": str(port),
            "MAINSTAY_RATELIMIT_OPS_PORT": str(free_port()),
        }
        try:
            async with (
                serve("services.ratelimit", port, environment) as server,
                Channel(server.address) as channel,
            ):
                client = RateLimitClient(channel)
                await _offer(client, seconds=1)
                before = server.cpu_seconds()
                latencies = await _offer(client, seconds=SECONDS)
                cpu = (server.cpu_seconds() - before) / len(latencies) * 1e6
                return [_row(latencies, cpu)]
        finally:
            await redis.stop()


async def _offer(client: RateLimitClient, *, seconds: int) -> list[float]:
    latencies: list[float] = []

    async def check(number: int, due: float) -> None:
        await client.check(f"user:{number % SUBJECTS}", "/api/bench")
        # Measured from when it was due: a late start is waiting too.
        latencies.append((time.perf_counter() - due) * 1000)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(RATE * seconds):
            due = began + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(check(number, due))
    return latencies


def _row(latencies: list[float], cpu: float) -> Row:
    cuts = statistics.quantiles(latencies, n=100)
    return Row(
        what=f"limit check p99 at {RATE}/s, one process",
        bar=f"< {BAR_MS:g} ms",
        measured=f"{cuts[98]:.2f} ms",
        met=cuts[98] < BAR_MS,
        note=f"p50 {cuts[49]:.2f} ms, {cpu:.0f} µs server CPU per check",
    )
