"""Callers of two replicas of the cache."""

from collections.abc import AsyncIterator

import pytest

from mainstay.channel import Channel
from tests.integration.cache.conftest import ServeCache
from tests.integration.cache.invalidation.calling import Caller


@pytest.fixture
def here(channel: Channel) -> Caller:
    """Call one replica."""
    return Caller(channel)


@pytest.fixture
async def there(redis_url: str, serve_cache: ServeCache) -> AsyncIterator[Caller]:
    """Call another replica on the same store."""
    async with serve_cache(redis_url) as channel:
        yield Caller(channel)
