"""Server CPU of a cache hit with everything on, as a ratio to everything off."""

import statistics
from datetime import timedelta

from bench.floor import CALLERS, CALLS_PER_CALLER, Call, cost
from bench.report import OURS, Comparison, Findings
from bench.target import Target
from bench.telemetry_stage import postgres, silent, sink, telling
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

VALUE = b"x" * 100
ROUNDS = 12
BAR = 1.25


async def run() -> Findings:
    """Alternate rounds between the two, so that a busy neighbour disturbs both."""
    async with (
        postgres() as database,
        sink() as told,
        silent(database.url) as off,
        telling(database.url, told) as on,
        Channel(off.address) as to_off,
        Channel(on.address) as to_on,
    ):
        calls = [await _hits(channel) for channel in (to_off, to_on)]
        rounds = [await _turn(number, off, on, calls) for number in range(ROUNDS + 1)]
        if not told.taken:
            raise RuntimeError("no span arrived: not everything was on")
    return _findings(rounds[1:], told.taken)  # the first warms up


async def _hits(channel: Channel) -> Call:
    client = CacheClient(channel)
    await client.set("bench", "key", VALUE, ttl=timedelta(hours=1))
    return lambda _: client.get("bench", "key")


async def _turn(number: int, off: Target, on: Target, calls: list[Call]) -> tuple[float, float]:
    """Measure both, each of them first in every other round."""
    if number % 2:
        told = await cost(on.service, calls[1])
        return await cost(off.service, calls[0]), told
    quiet = await cost(off.service, calls[0])
    return quiet, await cost(on.service, calls[1])


def _findings(rounds: list[tuple[float, float]], batches: int) -> Findings:
    quiet = statistics.median(off for off, _ in rounds)
    told = statistics.median(on for _, on in rounds)
    ratio = statistics.median(on / off for off, on in rounds)
    row = Comparison(
        what="A hit's CPU, all on / off",
        bar=f"≤ {BAR:g} ×",
        met=ratio <= BAR,
        figures={OURS: f"{ratio:.2f} ×"},
    )
    note = (
        f"CPU: {told:.0f} µs of the service against {quiet:.0f} µs, medians of {ROUNDS} turns of "
        f"{CALLERS} callers with {CALLS_PER_CALLER} calls each. On are traces at 10 % over OTLP "
        f"({batches} batches arrived), Sentry, JSON lines, the request log in PostgreSQL, and a "
        "scrape of the metrics each second; off is all of it, lines included."
    )
    return Findings(rows=[row], note=note)
