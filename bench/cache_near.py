"""What a hit costs in the client's near cache."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from statistics import median

import cashews

from bench.cache_contenders import LIFETIME, NAMESPACE
from bench.report import OURS, Comparison, Findings
from bench.target import Target, cache_service
from mainstay.cache.client import CacheClient
from mainstay.cache.near import NearCacheOptions
from mainstay.channel import Channel

HITS = 100_000
ROUNDS = 3
KEY, VALUE = "key", b"x" * 100
BAR_US = 5.0


async def run() -> Findings:
    """Read one entry over and over, in one task."""
    async with cache_service() as target:
        ours, reads = await _mainstay(target)
        others = await _cashews(target)
    row = Comparison(
        what="near-cache hit, µs",
        bar=f"< {BAR_US:g}",
        met=ours < BAR_US,
        figures={OURS: f"{ours:.2f}", "cashews": f"{others:.2f}"},
    )
    note = (
        f"Near cache: {ROUNDS} times {HITS:,} hits in a row in one task, {reads} reads reached the "
        "service; cashews with client_side=True."
    )
    return Findings(rows=[row], note=note)


async def _mainstay(target: Target) -> tuple[float, int]:
    async with (
        Channel(target.address) as channel,
        CacheClient(channel, near=NearCacheOptions()) as client,
    ):
        await client.set(NAMESPACE, KEY, VALUE, ttl_class=await _near_class(client))
        await _until_kept(client)
        before = _hits(client)
        cost = await _cost(lambda: client.get(NAMESPACE, KEY))
        return cost, HITS * ROUNDS - (_hits(client) - before)


async def _near_class(client: CacheClient) -> str:
    """Return a class whose entries clients may keep the longest."""
    allowing = [each for each in (await client.classes()).classes if each.near_max_age]
    if not allowing:
        raise RuntimeError("no class of policies/cache.yaml has a near_max_age; give one to one")
    return max(allowing, key=lambda each: each.near_max_age or timedelta()).name


async def _until_kept(client: CacheClient) -> None:
    async with asyncio.timeout(10):
        while not _hits(client):
            await client.get(NAMESPACE, KEY)


def _hits(client: CacheClient) -> int:
    statistics = client.near_statistics()
    assert statistics is not None, "made with a near cache"
    return statistics.hits


async def _cashews(target: Target) -> float:
    cache = cashews.Cache()
    cache.setup(target.redis_url, client_side=True)
    try:
        await cache.set(KEY, VALUE, expire=LIFETIME)
        return await _cost(lambda: cache.get(KEY))
    finally:
        await cache.close()


async def _cost(read: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of a read, the median of several rounds' means."""
    means = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(HITS):
            await read()
        means.append((time.perf_counter() - began) / HITS * 1e6)
    return median(means)
