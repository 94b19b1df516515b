"""A user's own database with an outbox in it, and the real jobs service on another one."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from mainstay.outbox import Outbox
from tests.integration.outbox.recorder import Recorder
from tests.integration.outbox.schemas import write_schemas
from tests.integration.sdk_jobs.jobs_service import serving

_numbers = count(1)


@pytest.fixture
async def own_url(session_postgres_url: str, postgres_url: str) -> AsyncIterator[str]:
    """Create the user's own database, beside that of the jobs service."""
    name = f"{urlsplit(postgres_url).path[1:]}_own_{next(_numbers)}"
    admin = await asyncpg.connect(session_postgres_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        yield urlunsplit(urlsplit(session_postgres_url)._replace(path=f"/{name}"))
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = $1 AND usename = current_user",
            name,
        )
        await admin.execute(f"DROP DATABASE {name}")
    finally:
        await admin.close()


@pytest.fixture
async def own(own_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the user's own database, as the application does."""
    connection = await asyncpg.connect(own_url)
    yield connection
    await connection.close()


@pytest.fixture
async def outbox(own_url: str) -> Outbox:
    """Install an outbox."""
    outbox = Outbox(own_url)
    await outbox.install()
    return outbox


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """Provide the contracts of the events."""
    return write_schemas(tmp_path / "policies")


@pytest.fixture
async def jobs_address(postgres_url: str, schemas: Path) -> AsyncIterator[str]:
    """Run the real jobs service."""
    async with serving(postgres_url, schemas) as address:
        yield address


@pytest.fixture
async def recorder(jobs_address: str, postgres_url: str) -> AsyncIterator[Recorder]:
    """Run a worker that writes down which jobs there are."""
    async with Recorder.running(jobs_address, postgres_url) as recorder:
        yield recorder
