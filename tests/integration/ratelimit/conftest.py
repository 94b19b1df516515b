"""The real rate limit service on a free port, with a real Redis behind it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import redis.asyncio

from mainstay.channel import Channel
from mainstay.ratelimit.client import RateLimitClient
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from shared.redis.client import Redis

POLICIES = Path(__file__).parents[3] / "policies"
TENANT = "acme"


class ServeRateLimit(Protocol):
    """Runs the service for as long as a block, and connects to it as the tenant `acme`."""

    def __call__(
        self, redis_url: str, *, policies: Path = POLICIES, postgres_url: str | None = None
    ) -> AbstractAsyncContextManager[Channel]:
        """Return the block."""
        ...


@pytest.fixture
def serve_ratelimit() -> ServeRateLimit:
    """Let a test run services; without PostgreSQL unless it is given."""

    @asynccontextmanager
    async def serve(
        redis_url: str, *, policies: Path = POLICIES, postgres_url: str | None = None
    ) -> AsyncIterator[Channel]:
        settings = RateLimitSettings.model_validate(
            {
                "redis_url": redis_url,
                "postgres_url": postgres_url,
                "policies_dir": policies,
                "ratelimit_port": 0,
                "ratelimit_ops_port": 0,
            }
        )
        service = build(settings)
        async with service.running(), Channel(service.address, tenant=TENANT) as channel:
            yield channel

    return serve


@pytest.fixture
async def channel(redis_url: str, serve_ratelimit: ServeRateLimit) -> AsyncIterator[Channel]:
    """Connect to a rate limit service of this test's own, as the tenant `acme`."""
    async with serve_ratelimit(redis_url) as channel:
        yield channel


@pytest.fixture
def limits(channel: Channel) -> RateLimitClient:
    """Return the client that every backend would use."""
    return RateLimitClient(channel)


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """Connect to the Redis behind the service, to look at."""
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Redis]:
    """Start the client that the store uses."""
    client = Redis(redis_url, timeout=5)
    await client.start()
    yield client
    await client.close()
