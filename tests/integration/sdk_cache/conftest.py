"""What the tests of the cache SDK share."""

from collections.abc import AsyncIterator

import pytest

from mainstay.cache import CacheClient, NearCacheOptions
from mainstay.channel import Channel
from tests.integration.sdk_cache.scripted_cache import ScriptedCache, scripted_cache

TENANT = "acme"


@pytest.fixture
async def peer() -> AsyncIterator[ScriptedCache]:
    """Serve what this test says."""
    async with scripted_cache() as service:
        yield service


@pytest.fixture
async def channel(peer: ScriptedCache) -> AsyncIterator[Channel]:
    """Connect to the scripted service as the tenant `acme`."""
    async with Channel(peer.address, tenant=TENANT) as channel:
        yield channel


@pytest.fixture
async def cache(channel: Channel) -> AsyncIterator[CacheClient]:
    """Return a client without copies of its own."""
    async with CacheClient(channel) as cache:
        yield cache


@pytest.fixture
async def near(channel: Channel) -> AsyncIterator[CacheClient]:
    """Return a client that keeps copies."""
    async with CacheClient(channel, near=NearCacheOptions()) as cache:
        yield cache
