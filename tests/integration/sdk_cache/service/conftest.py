"""The real cache service on real Redis, with a policy of classes that end soon."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mainstay.cache import CacheClient, NearCacheOptions
from mainstay.channel import Channel
from services.cache.app import build
from services.cache.settings import CacheSettings

TENANT = "acme"
POLICY = """\
default: general
classes:
  general:
    ttl: 10m
  near:
    ttl: 10m
    near_cache: 5m
  stale_soon:
    ttl: 10m
    soft_ttl: 1ms
    early_refresh: 0
  brief:
    ttl: 10m
    negative_ttl: 1h
events:
  user.updated:
    - user:{user_id}
"""

Serve = Callable[[str], AbstractAsyncContextManager[str]]
Connect = Callable[[], CacheClient]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Run the service within a block that gives its address."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "cache.yaml").write_text(POLICY)

    @asynccontextmanager
    async def run(redis_url: str) -> AsyncIterator[str]:
        settings = CacheSettings(
            redis_url=redis_url, policies_dir=policies, cache_port=0, cache_ops_port=0
        )
        service = build(settings)
        async with service.running():
            yield service.address

    return run


@pytest.fixture
async def address(redis_url: str, serve: Serve) -> AsyncIterator[str]:
    """Run a service of this test's own."""
    async with serve(redis_url) as address:
        yield address


@pytest.fixture
async def connect(address: str) -> AsyncIterator[Connect]:
    """Let a test have as many clients as other processes would."""
    async with AsyncExitStack() as open_ones:
        channels: list[Channel] = []
        clients: list[CacheClient] = []

        def open_client() -> CacheClient:
            channels.append(Channel(address, tenant=TENANT))
            clients.append(CacheClient(channels[-1], near=NearCacheOptions()))
            return clients[-1]

        async def close_all() -> None:
            for client in clients:
                await client.close()
            for channel in channels:
                await channel.close()

        open_ones.push_async_callback(close_all)
        yield open_client


@pytest.fixture
def cache(connect: Connect) -> CacheClient:
    """Return one client."""
    return connect()
