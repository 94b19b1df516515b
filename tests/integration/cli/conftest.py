"""What the tests of the command line share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.layout import Layout
from tests.integration.sdk_jobs.contract import Contract, contract_of
from tests.integration.sdk_jobs.jobs_service import write_policies


@pytest.fixture
async def contract(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Contract]:
    """Serve jobs and let the command find them, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    async with contract_of(postgres_url, write_policies(tmp_path / "policies")) as contract:
        monkeypatch.setenv("MAINSTAY_JOBS_ADDRESS", contract.address)
        yield contract
