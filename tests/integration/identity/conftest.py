"""API keys in a real database, and rings that hold them as the processes of services do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Protocol

import asyncpg
import pytest
from prometheus_client import REGISTRY

from shared.identity.key_ring import KeyRing
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import MIGRATIONS, PostgresKeys, identity_postgres
from tests.integration.identity.keys import Bench


class Clock:
    """A monotonic clock that a test can move on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return seconds."""
        return time.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let so many seconds be over at once."""
        self._ahead += seconds


class StartRing(Protocol):
    """Starts what one process holds of the keys."""

    async def __call__(
        self,
        url: str | None = None,
        *,
        grace: float = 900.0,
        interval: float = 2.0,
        note_interval: float = 60.0,
        runs: bool = False,
        migrate: bool = True,
    ) -> KeyRing:
        """Return the ring, which lives until the end of the test; `runs` for one that polls."""
        ...


@pytest.fixture
def clock() -> Clock:
    """Provide the clock of all rings of a test."""
    return Clock()


@pytest.fixture
async def identity_url(postgres_url: str) -> str:
    """Provide a database with the tables."""
    await MIGRATIONS.apply(postgres_url)
    return postgres_url


@pytest.fixture
async def bench(identity_url: str) -> AsyncIterator[Bench]:
    """Make and revoke keys as `mainstay keys` does."""
    postgres = identity_postgres(identity_url, migrate=False)
    await postgres.start()
    yield Bench(PostgresKeyAdministration(postgres))
    await postgres.close()


@pytest.fixture
async def start_ring(clock: Clock, postgres_url: str) -> AsyncIterator[StartRing]:
    """Let a test start any number of rings."""
    async with AsyncExitStack() as stack:

        async def start(
            url: str | None = None,
            *,
            grace: float = 900.0,
            interval: float = 2.0,
            note_interval: float = 60.0,
            runs: bool = False,
            migrate: bool = True,
        ) -> KeyRing:
            postgres = identity_postgres(url or postgres_url, migrate=migrate)
            ring = KeyRing(
                PostgresKeys(postgres),
                grace=grace,
                clock=clock,
                interval=interval,
                note_interval=note_interval,
            )
            await ring.start()
            stack.push_async_callback(ring.close)
            if runs:
                stack.push_async_callback(_stop, asyncio.create_task(ring.run()))
            return ring

        yield start


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def database(identity_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database, at the rows of all tenants."""
    connection = await asyncpg.connect(identity_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


@pytest.fixture
def polls() -> Callable[[], float]:
    """Count the looks at the revision that succeeded, from now on."""

    def count() -> float:
        outcome = {"outcome": "ok"}
        return REGISTRY.get_sample_value("mainstay_identity_key_polls_total", outcome) or 0.0

    before = count()
    return lambda: count() - before
