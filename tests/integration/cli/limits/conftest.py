"""A rate limit service that the command finds, away from any suite of this machine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.layout import Layout
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.cli.limits.limits_commands import POLICY, Limits, run


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point at a port where nothing is, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database_url() -> str | None:
    """Return the PostgreSQL of the service, where a test needs one."""
    return None


@pytest.fixture
async def limits(
    redis_url: str, database_url: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Limits]:
    """Serve rate limits and let the command find them."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY)
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "postgres_url": database_url,
            "policies_dir": tmp_path,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    service = build(settings)
    async with service.running():
        monkeypatch.setenv("MAINSTAY_RATELIMIT_ADDRESS", service.address)
        yield run
