"""The store of counters, on the Redis of the test."""

import pytest

from services.ratelimit.redis_counters import RedisCounterStore
from shared.redis.client import Redis


@pytest.fixture
def store(link: Redis) -> RedisCounterStore:
    return RedisCounterStore(link)
