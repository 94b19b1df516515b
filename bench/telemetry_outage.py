"""Calls at 2,000 a second, each with a line and a row, while PostgreSQL is down."""

import math
import statistics
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import Any

from bench.floor import Call
from bench.pace import offer, percentile
from bench.report import OURS, Comparison, Findings
from bench.target import Target, cache_service
from bench.telemetry_stage import postgres
from cli.embedded.postgres import PostgresServer
from mainstay.cache.client import CacheClient
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel

RATE = 2_000
WARM_UP_RATE = 500
SECONDS = 4.0
ROUNDS = 6
FILLED_AFTER = 3
"""Rounds after which more rows have come than may wait."""
BAR = 1.25
RSS_BAR = 8.0
TIMEOUT = 2.0
VALUE = b"x" * 100
_MEGABYTE = 1024 * 1024
# As many lines and rows as there are calls: none of them is left out of a sample.
_ALL = "1000000"


async def run() -> Findings:
    """Alternate rounds with a service that writes no rows, so that a neighbour disturbs both."""
    async with postgres() as database, AsyncExitStack() as stack:
        off = await stack.enter_async_context(_writing(database.url, rows=False))
        on = await stack.enter_async_context(_writing(database.url, rows=True))
        channels = [await stack.enter_async_context(Channel(each.address)) for each in (off, on)]
        for channel in channels:
            await CacheClient(channel).set("bench", "key", VALUE, ttl=timedelta(hours=1))
        return await _measure(database, on, [_hits(channel) for channel in channels])


def _hits(channel: Channel) -> Call:
    """Return a call that costs its caller as little as possible: the machine is shared."""
    get: Any = channel.raw.unary_unary("/mainstay.cache.v1.CacheService/Get")
    request = pb.GetRequest(namespace="bench", key="key").SerializeToString()
    metadata = (("x-request-id", "bench"),)

    async def hit(_: int) -> None:
        await get(request, metadata=metadata, timeout=TIMEOUT)

    return hit


def _writing(url: str, *, rows: bool) -> AbstractAsyncContextManager[Target]:
    return cache_service(
        {
            "MAINSTAY_POSTGRES_URL": url,
            "MAINSTAY_REQUEST_LOG": str(rows).lower(),
            "MAINSTAY_LOG_FORMAT": "json",
            "MAINSTAY_LOG_SUCCESSES_PER_SECOND": _ALL,
        }
    )


async def _measure(database: PostgresServer, on: Target, calls: Sequence[Call]) -> Findings:
    for call in calls:
        await offer(call, rate=WARM_UP_RATE, seconds=1.0)
    await database.kill()
    rounds, rss = [], []
    for number in range(ROUNDS):
        order = (0, 1) if number % 2 else (1, 0)
        found = {which: await _p99(calls[which]) for which in order}
        rounds.append((found[0], found[1]))
        rss.append(on.service.rss_bytes() / _MEGABYTE)
    return _findings(rounds, rss)


async def _p99(call: Call) -> float:
    p99 = percentile(await offer(call, rate=RATE, seconds=SECONDS), 99)
    if math.isinf(p99):
        raise RuntimeError(f"this machine cannot carry {RATE} calls a second now; let it be quiet")
    return p99


def _findings(rounds: list[tuple[float, float]], rss: list[float]) -> Findings:
    ratio = statistics.median(on / off for off, on in rounds)
    growth = rss[-1] - rss[FILLED_AFTER - 1]
    without_rows, p99 = (statistics.median(each) for each in zip(*rounds, strict=True))
    rows = [
        Comparison(
            what="p99 of hits, PostgreSQL down",
            bar=f"≤ {BAR:g} ×",
            met=ratio <= BAR,
            figures={OURS: f"{ratio:.2f} ×"},
        ),
        Comparison(
            what="Memory, once rows are dropped",
            bar=f"< {RSS_BAR:g} MB more",
            met=growth < RSS_BAR,
            figures={OURS: f"{growth:+.1f} MB"},
        ),
    ]
    note = (
        f"Outage: {RATE} hits a second for {SECONDS:g} s a turn, {ROUNDS} turns, beside a service "
        f"whose calls have lines but no rows: p99 {p99:.1f} ms against {without_rows:.1f} ms. "
        f"Every call had a line and a row. Memory: {rss[0]:.0f} MB after the first turn, "
        f"{rss[-1]:.0f} MB after the last."
    )
    return Findings(rows=rows, note=note)
