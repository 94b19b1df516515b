"""Replicas that follow the policy and the overrides, on real stores."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from tests.integration.ratelimit.policies.policy_replica import (
    PolicyReplica,
    policy_replica,
    text_of,
)


class StartReplica(Protocol):
    """Starts a replica on the stores of the test."""

    async def __call__(
        self,
        path: Path | None = None,
        *,
        postgres_url: str | None = "",
        running: bool = False,
        interval: float = 1.0,
    ) -> PolicyReplica:
        """Return the replica, which is there until the end of the test.

        An empty URL is that of the test's database, None for a replica without one.
        """
        ...


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a policy file."""
    path = tmp_path / "ratelimit.yaml"
    path.write_text(text_of("10/min"))
    return path


@pytest.fixture
async def start_replica(
    redis_url: str, postgres_url: str, path: Path
) -> AsyncIterator[StartReplica]:
    """Start replicas."""
    given, own_url = path, postgres_url
    async with AsyncExitStack() as stack:

        async def start(
            path: Path | None = None,
            *,
            postgres_url: str | None = "",
            running: bool = False,
            interval: float = 1.0,
        ) -> PolicyReplica:
            url = own_url if postgres_url == "" else postgres_url
            return await stack.enter_async_context(
                policy_replica(redis_url, url, path or given, running=running, interval=interval)
            )

        yield start


@pytest.fixture
async def here(start_replica: StartReplica) -> PolicyReplica:
    """Start one replica, which looks for changes when it is told to."""
    return await start_replica()


@pytest.fixture
async def rows(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database, which has its tables: the rows of all tenants."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()
