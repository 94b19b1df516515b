"""Replicas that know plans, on real stores and a real cache service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from tests.integration.ratelimit.plans.replica import (
    Replica,
    cache_service,
    jobs_service,
    plan_replica,
)


class StartReplica(Protocol):
    """Starts a replica on the stores of the test."""

    async def __call__(self, cache_address: str = "", *, budget: float = 5.0) -> Replica:
        """Return the replica, which runs until the end of the test."""
        ...


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close what a test opened, last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_replica(redis_url: str, postgres_url: str, stack: AsyncExitStack) -> StartReplica:
    """Start replicas."""

    async def start(cache_address: str = "", *, budget: float = 5.0) -> Replica:
        return await stack.enter_async_context(
            plan_replica(redis_url, postgres_url, cache_address, budget=budget)
        )

    return start


@pytest.fixture
async def cache_address(redis_url: str, stack: AsyncExitStack) -> str:
    """Start a cache service."""
    return await stack.enter_async_context(cache_service(redis_url))


@pytest.fixture
async def jobs_address(postgres_url: str, stack: AsyncExitStack) -> str:
    """Start a jobs service."""
    return await stack.enter_async_context(jobs_service(postgres_url))


@pytest.fixture
async def here(start_replica: StartReplica, cache_address: str) -> Replica:
    """Start one replica that looks plans up through the cache service."""
    return await start_replica(cache_address)


@pytest.fixture
async def there(start_replica: StartReplica, cache_address: str) -> Replica:
    """Start another one."""
    return await start_replica(cache_address)


@pytest.fixture
async def alone(start_replica: StartReplica) -> Replica:
    """Start a replica without a cache service."""
    return await start_replica()


@pytest.fixture
async def rows(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database, which has its tables: the rows of all tenants."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()
