"""Waits for what people are told about the cache, and a policy to be told of."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import redis.asyncio

from mainstay.cache.administration import Stats
from mainstay.cache.client import CacheClient
from mainstay.cache.results import Lease
from mainstay.errors import CacheError
from services.cache.keys import entry_key
from tests.integration.cache.conftest import TENANT

POLICY = """
default: general
classes:
  general:
    ttl: 10m
  brief:
    ttl: 10m
    soft_ttl: 1ms
  fleeting:
    ttl: 50ms
  kept:
    ttl: permanent
    max_bytes: 1MiB
quotas:
  default:
    entries: 10
    bytes: 1MiB
events:
  user.changed:
    - user:{user_id}
"""
WHERE = entry_key(TENANT, "video", "1")
MINUTES = timedelta(minutes=5)


async def computed(cache: CacheClient, key: str, value: bytes, *, took: timedelta) -> None:
    """Miss an entry and fill it."""
    offer = await cache.get_or_lease("video", key)
    assert isinstance(offer.lease, Lease)
    await cache.fill(offer.lease, value, compute_duration=took)


async def until(ask: Callable[[], Awaitable[Stats]], enough: Callable[[Stats], bool]) -> Stats:
    """Ask until another replica has told what it counted."""
    async with asyncio.timeout(10):
        while not enough(stats := await ask()):  # noqa: ASYNC110 - another process's timer
            await asyncio.sleep(0.01)
    return stats


async def until_gone(store: "redis.asyncio.Redis", key: bytes) -> None:
    """Wait until Redis has ended an entry."""
    async with asyncio.timeout(5):
        while await store.exists(key):
            pass


async def until_answered(ask: Callable[[], Awaitable[Stats]]) -> Stats:
    """Ask until Redis is believed to be back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask()
            except CacheError:
                await asyncio.sleep(0.05)


async def until_migrated(url: str) -> None:
    """Wait until the background task has connected."""
    connection = await asyncpg.connect(url)
    query = "SELECT to_regclass('cache.cache_statistics')"
    async with asyncio.timeout(20):
        while await connection.fetchval(query) is None:  # noqa: ASYNC110 - another connection's
            await asyncio.sleep(0.02)
    await connection.close()
