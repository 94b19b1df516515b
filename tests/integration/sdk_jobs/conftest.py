"""What the tests of the jobs SDK share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainstay.channel import Channel
from mainstay.jobs import JobClient
from tests.integration.sdk_jobs.bench import Bench
from tests.integration.sdk_jobs.contract import Contract, contract_of
from tests.integration.sdk_jobs.jobs_service import serving, write_policies
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.sdk_jobs.scripted_jobs import ScriptedJobs, scripted_jobs_service
from tests.integration.sdk_jobs.scripted_service import ScriptedService, scripted_service


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedService]:
    """Serve whatever a test wants a worker to hear."""
    async with scripted_service() as service:
        yield service


@pytest.fixture
async def bench(scripted: ScriptedService) -> AsyncIterator[Bench]:
    """Run a worker with room for two jobs."""
    bench = Bench(scripted.address)
    async with running(bench.worker):
        yield bench


@pytest.fixture
async def scripted_jobs() -> AsyncIterator[ScriptedJobs]:
    """Serve whatever a test wants a producer or a watcher to hear."""
    async with scripted_jobs_service() as service:
        yield service


@pytest.fixture
def jobs_policies(tmp_path: Path) -> Path:
    """Provide schemas for the events of the tests."""
    return write_policies(tmp_path / "policies")


@pytest.fixture
async def jobs_address(postgres_url: str, jobs_policies: Path) -> AsyncIterator[str]:
    """Run the real jobs service."""
    async with serving(postgres_url, jobs_policies) as address:
        yield address


@pytest.fixture
async def jobs(jobs_address: str) -> AsyncIterator[JobClient]:
    """Call the real jobs service as the tenant `acme`."""
    async with Channel(jobs_address, tenant="acme") as channel:
        yield JobClient(channel)


@pytest.fixture
async def contract(postgres_url: str, jobs_policies: Path) -> AsyncIterator[Contract]:
    """Run the real jobs service, and connect to both of its ends."""
    async with contract_of(postgres_url, jobs_policies) as contract:
        yield contract
