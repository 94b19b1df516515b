"""Two replicas that share nothing but Redis, the clock and the policy."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.cache.computing.computing_replica import Replica, World, running


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def one(redis_url: str, world: World) -> AsyncIterator[Replica]:
    async with running(redis_url, world) as replica:
        yield replica


@pytest.fixture
async def other(redis_url: str, world: World) -> AsyncIterator[Replica]:
    async with running(redis_url, world) as replica:
        yield replica
