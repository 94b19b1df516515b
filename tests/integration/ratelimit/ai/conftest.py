"""Replicas that budget AI calls, on real stores."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from tests.integration.ratelimit.ai.spender import Spender, spender


class StartSpender(Protocol):
    """Starts a replica on the stores of the test."""

    async def __call__(self, **options: Any) -> Spender:
        """Return the replica, which ends with the test."""
        ...


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close what a test opened, last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_spender(redis_url: str, postgres_url: str, stack: AsyncExitStack) -> StartSpender:
    """Start replicas."""

    async def start(**options: Any) -> Spender:
        urls = {"redis_url": redis_url, "postgres_url": postgres_url}
        return await stack.enter_async_context(spender(**{**urls, **options}))

    return start


@pytest.fixture
async def here(start_spender: StartSpender) -> Spender:
    """One replica."""
    return await start_spender()


@pytest.fixture
async def there(start_spender: StartSpender) -> Spender:
    """Another one."""
    return await start_spender()


@pytest.fixture
async def rows(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database, which has its tables: the rows of all tenants."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()
