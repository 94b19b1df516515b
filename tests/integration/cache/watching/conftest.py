"""The replica that is watched."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.cache.watching.watched_replica import Replica, replica


@pytest.fixture
async def here(redis_url: str) -> AsyncIterator[Replica]:
    """Run a replica that only looks when it hears a hint."""
    async with replica(redis_url) as here:
        yield here
