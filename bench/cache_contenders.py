"""The four ways to a cached value that are measured beside each other, behind one interface.

Each is set up as its own documentation advises; all values are bytes. The pools of connections let
callers wait, as that of cashews does by itself: the others' would raise when the machine stumbles.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import cycle
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiocache
import cashews
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, Redis

from bench.report import OURS
from bench.target import Connection, Target
from mainstay.cache.client import CacheClient, Hit

NAMESPACE = "bench"
LIFETIME = timedelta(hours=1)
CONNECTIONS = 4


class Contender(Protocol):
    """Something that keeps bytes under a key."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""

    async def set(self, key: str, value: bytes) -> None:
        """Keep the value for an hour."""


class Mainstay:
    """The service, over several connections in turn."""

    def __init__(self, clients: list[CacheClient]) -> None:
        self._clients = cycle(clients)

    async def get(self, key: str) -> bytes | None:
        found = await next(self._clients).get(NAMESPACE, key)
        return found.value if isinstance(found, Hit) else None

    async def set(self, key: str, value: bytes) -> None:
        await next(self._clients).set(NAMESPACE, key, value, ttl=LIFETIME)


class RedisPy:
    """redis-py with its connection pool."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, key: str) -> bytes | None:
        found = await self._redis.get(f"redis-py:{key}")
        assert found is None or isinstance(found, bytes), "nothing decodes it"
        return found

    async def set(self, key: str, value: bytes) -> None:
        await self._redis.set(f"redis-py:{key}", value, ex=LIFETIME)


class Cashews:
    """cashews on Redis, with the pickle it uses by default."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._cache.get(f"cashews:{key}")
        return found

    async def set(self, key: str, value: bytes) -> None:
        await self._cache.set(f"cashews:{key}", value, expire=LIFETIME)


class Aiocache:
    """aiocache on Redis, its values stored as they are."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._cache.get(key)
        return found

    async def set(self, key: str, value: bytes) -> None:
        await self._cache.set(key, value, ttl=int(LIFETIME.total_seconds()))


@asynccontextmanager
async def mainstay(address: str) -> AsyncIterator[Mainstay]:
    """Connect to a server that speaks the cache's protocol."""
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(Connection(address)) for _ in range(CONNECTIONS)
        ]
        yield Mainstay([CacheClient(connection) for connection in connections])


@asynccontextmanager
async def contenders(target: Target) -> AsyncIterator[dict[str, Contender]]:
    """Connect all of them, by the names that the columns of the table have."""
    async with AsyncExitStack() as stack:
        pool = BlockingConnectionPool.from_url(target.redis_url)
        redis = await stack.enter_async_context(Redis.from_pool(pool))
        with_cashews = cashews.Cache()
        with_cashews.setup(target.redis_url)
        stack.push_async_callback(with_cashews.close)
        with_aiocache = aiocache_of(target.redis_url)
        stack.push_async_callback(with_aiocache.close)
        yield {
            OURS: await stack.enter_async_context(mainstay(target.address)),
            "redis-py": RedisPy(redis),
            "cashews": Cashews(with_cashews),
            "aiocache": Aiocache(with_aiocache),
        }


def aiocache_of(redis_url: str) -> Any:
    """Return an aiocache of bytes on that Redis."""
    where = urlsplit(redis_url)
    return aiocache.Cache(
        aiocache.Cache.REDIS,
        endpoint=where.hostname,
        port=where.port,
        namespace="aiocache",
        connection_pool_class=BlockingConnectionPool,
        serializer=NullSerializer(encoding=None),
    )
