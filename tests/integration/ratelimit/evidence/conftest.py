"""Replicas that keep evidence, on real stores."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from tests.integration.ratelimit.evidence.watcher import Watcher, watcher


class StartWatcher(Protocol):
    """Starts a replica on the stores of the test."""

    async def __call__(
        self, *, postgres_url: str | None = None, max_buckets: int = 100, max_violations: int = 100
    ) -> Watcher:
        """Return the replica, which ends with the test."""
        ...


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close what a test opened, last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_watcher(redis_url: str, postgres_url: str, stack: AsyncExitStack) -> StartWatcher:
    """Start replicas."""
    its_own = postgres_url

    async def start(
        *, postgres_url: str | None = its_own, max_buckets: int = 100, max_violations: int = 100
    ) -> Watcher:
        return await stack.enter_async_context(
            watcher(redis_url, postgres_url, max_buckets=max_buckets, max_violations=max_violations)
        )

    return start


@pytest.fixture
async def here(start_watcher: StartWatcher) -> Watcher:
    """One replica."""
    return await start_watcher()


@pytest.fixture
async def there(start_watcher: StartWatcher) -> Watcher:
    """Another one."""
    return await start_watcher()


@pytest.fixture
async def rows(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database, which has its tables: the rows of all tenants."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()
