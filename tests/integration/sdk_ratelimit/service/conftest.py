"""The real rate limit service on real Redis, with a policy of a little of all."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mainstay.channel import Channel
from mainstay.ratelimit import RateLimitClient
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings

TENANT = "acme"
POLICY = """\
version: 1
plans:
  basic: {features: [chat]}
  pro: {features: [chat, export]}
limits:
  - name: chat
    endpoints: [/api/chat]
    default: 5/min
    plans: {basic: 5/min, pro: 20/min}
  - name: events
    endpoints: [/api/events]
    default: 1_000/min
  - name: brief
    endpoints: [brief]
    default: 60/2s
  - name: free
    endpoints: [free]
    default: unlimited
  - name: rest
    endpoints: ["*"]
    default: 10/s 100/min
concurrency:
  - name: transcoding
    endpoints: [video_processing]
    default: 3
    plans: {basic: 3, pro: unlimited}
budgets:
  - name: ai_tokens
    measure: tokens
    default: 10_000/d
prices:
  openai/gpt-4o: {input: 2.50, output: 10.00, cached_input: 1.25}
"""

Connect = Callable[[], RateLimitClient]


@pytest.fixture
def database_url() -> str | None:
    """Return the PostgreSQL of the service; modules that need one say so."""
    return None


@pytest.fixture
async def address(redis_url: str, database_url: str | None, tmp_path: Path) -> AsyncIterator[str]:
    """Run a service of this test's own."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "ratelimit.yaml").write_text(POLICY)
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "postgres_url": database_url,
            "policies_dir": policies,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    service = build(settings)
    async with service.running():
        yield service.address


@pytest.fixture
async def connect(address: str) -> AsyncIterator[Connect]:
    """Let a test have as many clients as other processes would."""
    async with AsyncExitStack() as open_ones:

        def open_client() -> RateLimitClient:
            channel = Channel(address, tenant=TENANT)
            open_ones.push_async_callback(channel.close)
            client = RateLimitClient(channel)
            open_ones.push_async_callback(client.close)
            return client

        yield open_client


@pytest.fixture
def limits(connect: Connect) -> RateLimitClient:
    """Return one client."""
    return connect()
