"""One replica on a Redis of its own."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded.redis import RedisServer
from tests.integration.ratelimit.degrading.world import Replica, replica


@pytest.fixture
async def one(private_redis: RedisServer) -> AsyncIterator[Replica]:
    """Connect a replica to the Redis that the test may break."""
    async with replica(private_redis.url) as connected:
        yield connected
