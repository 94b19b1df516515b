"""Real jobs services on free ports, over a real PostgreSQL, and raw peers to talk to them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from services.jobs.app import build
from services.jobs.settings import JobsSettings
from shared.service import Service
from tests.integration.jobs.producer import Producer, producer
from tests.integration.jobs.raw_worker import Workers, raw_workers

POLICIES = Path(__file__).parents[3] / "policies"


class ServeJobs(Protocol):
    """Starts a replica of the service; settings are those of JobsSettings."""

    async def __call__(self, **settings: Any) -> Service:
        """Return the replica, which serves until the end of the test."""
        ...


class Produce(Protocol):
    """Connects a producer to a replica."""

    async def __call__(self, service: Service, tenant: str = "acme") -> Producer:
        """Return the producer, connected until the end of the test."""
        ...


def jobs_service(postgres_url: str, **settings: Any) -> Service:
    """Put a replica together, by default with long leases and slow polls."""
    return build(
        JobsSettings.model_validate(
            {
                "postgres_url": postgres_url,
                "policies_dir": POLICIES,
                "jobs_port": 0,
                "jobs_ops_port": 0,
                "shutdown_grace": 2.0,
                # So slow that what a test sees was told by a wake-up, not found by a poll.
                "jobs_poll_interval": 30.0,
                # A worker more than the test's own, but for the tests that are about it.
                "jobs_maintenance": False,
            }
            | settings
        )
    )


@pytest.fixture
async def stack(postgres_url: str) -> AsyncIterator[AsyncExitStack]:
    """Close what a test opened, last first, while its database is still there."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve_jobs(postgres_url: str, stack: AsyncExitStack) -> ServeJobs:
    """Start replicas on the test's database."""

    async def serve(**settings: Any) -> Service:
        return await stack.enter_async_context(jobs_service(postgres_url, **settings).running())

    return serve


@pytest.fixture
async def service(serve_jobs: ServeJobs) -> Service:
    """Start one replica."""
    return await serve_jobs()


@pytest.fixture
def produce(stack: AsyncExitStack) -> Produce:
    """Connect producers."""

    async def connect(service: Service, tenant: str = "acme") -> Producer:
        return await stack.enter_async_context(producer(service.address, tenant))

    return connect


@pytest.fixture
async def jobs(service: Service, produce: Produce) -> Producer:
    """Connect a producer to the one replica."""
    return await produce(service)


@pytest.fixture
async def workers(service: Service) -> AsyncIterator[Workers]:
    """Provide raw workers, whose streams break before the service stops."""
    async with raw_workers() as workers:
        yield workers


@pytest.fixture
async def database(service: Service, postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database as the engine does: the rows of all tenants."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()
