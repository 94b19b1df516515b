"""The real cache service on a free port, with a real Redis behind it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from services.cache.app import build
from services.cache.histories import RedisHistories
from services.cache.settings import CacheSettings
from tests.integration.cache.remembering import replica_of

POLICIES = Path(__file__).parents[3] / "policies"
TENANT = "acme"

ServeCache = Callable[..., AbstractAsyncContextManager[Channel]]


@pytest.fixture
def serve_cache() -> ServeCache:
    """Run the service within a block that gives its channel."""

    @asynccontextmanager
    async def serve(redis_url: str, **settings: Any) -> AsyncIterator[Channel]:
        chosen = {"policies_dir": POLICIES, "cache_port": 0, "cache_ops_port": 0, **settings}
        service = build(CacheSettings(redis_url=redis_url, **chosen))
        async with service.running(), Channel(service.address, tenant=TENANT) as channel:
            yield channel

    return serve


@pytest.fixture
async def channel(redis_url: str, serve_cache: ServeCache) -> AsyncIterator[Channel]:
    """Connect to a cache service of this test's own, as the tenant `acme`."""
    async with serve_cache(redis_url) as channel:
        yield channel


@pytest.fixture
def cache(channel: Channel) -> CacheClient:
    """Return the client that every backend would use."""
    return CacheClient(channel)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """Connect to the Redis behind the service, to look at and to meddle with."""
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
async def here(redis_url: str) -> AsyncIterator[RedisHistories]:
    """One replica."""
    async with replica_of(redis_url) as histories:
        yield histories


@pytest.fixture
async def there(redis_url: str) -> AsyncIterator[RedisHistories]:
    """Another replica: nothing but the store connects the two."""
    async with replica_of(redis_url) as histories:
        yield histories
