"""A real rate limit service, and web applications that ask it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mainstay import Mainstay
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from tests.integration.sdk_middleware.web_server import (
    POLICY,
    Failures,
    Serve,
    ServeLimits,
    serve_with,
)


@pytest.fixture(autouse=True)
def _failure_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test raise what another one chose."""
    monkeypatch.setattr(Failures, "error", RuntimeError("secret text"))


@pytest.fixture
def serve_limits(redis_url: str, tmp_path: Path) -> ServeLimits:
    """Run a rate limit service with a policy for these tests on a port; gives its address."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY)

    @asynccontextmanager
    async def serve(port: int) -> AsyncIterator[str]:
        settings = RateLimitSettings.model_validate(
            {
                "redis_url": redis_url,
                "policies_dir": tmp_path,
                "ratelimit_port": port,
                "ratelimit_ops_port": 0,
            }
        )
        async with build(settings).running() as service:
            yield service.address

    return serve


@pytest.fixture
async def mainstay(serve_limits: ServeLimits) -> AsyncIterator[Mainstay]:
    """Connect to a rate limit service of the test's own."""
    async with serve_limits(0) as address, Mainstay(ratelimit=address, tenant="acme") as mainstay:
        yield mainstay


@pytest.fixture
def serve(mainstay: Mainstay) -> Serve:
    """Serve applications with the middleware."""
    return serve_with(mainstay)
