"""A Redis Cluster for the tests of this folder, made once and mended before every test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mainstay.channel import Channel
from services.cache.app import build
from services.cache.settings import CacheSettings
from shared.redis.client import Redis
from tests.cluster.callers import MANY, connected
from tests.cluster.six_nodes import SixNodes

T = TypeVar("T")

StartCache = Callable[..., Awaitable[Channel]]

POLICY = """\
default: general
classes:
  general:
    ttl: 10m
  near:
    ttl: 10m
    near_cache: 5m
quotas:
  default:
    entries: unlimited
    bytes: unlimited
  tenants:
    small:
      entries: 3
"""


def _run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own: the session outlives the loop of every test."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def six_nodes(server_directory: Path) -> Iterator[SixNodes]:
    """Start six nodes as three masters with a replica each; tests use `cluster`."""
    nodes = SixNodes(server_directory / "cluster")
    _run_apart(nodes.start())
    yield nodes
    _run_apart(nodes.stop())


@pytest.fixture
async def cluster(six_nodes: SixNodes) -> AsyncIterator[SixNodes]:
    """Lend the cluster to one test that may kill its nodes: healthy and empty at its beginning."""
    await six_nodes.healthy()
    await six_nodes.flush()
    yield six_nodes
    for node in six_nodes.nodes:
        if node.runs:
            node.resume()


@pytest.fixture
def cluster_url(cluster: SixNodes) -> str:
    """Return what MAINSTAY_REDIS_URL holds for the cluster."""
    return cluster.url


@pytest.fixture
async def redis(cluster_url: str) -> AsyncIterator[Redis]:
    """Connect to the cluster."""
    async with connected(cluster_url) as redis:
        yield redis


@pytest.fixture
async def filled(redis: Redis) -> Redis:
    """Hold a value for each of many keys: the key itself."""
    await redis.execute_many([("SET", key, key) for key in MANY])
    return redis


@pytest.fixture
async def start_cache(tmp_path: Path) -> AsyncIterator[StartCache]:
    """Let a test start replicas of the cache, each with a channel to it."""
    (tmp_path / "cache.yaml").write_text(POLICY)
    async with AsyncExitStack() as running:

        async def start(url: str, *, redis_timeout: float = 5.0) -> Channel:
            settings = CacheSettings(
                redis_url=url,
                redis_timeout=redis_timeout,
                policies_dir=tmp_path,
                cache_port=0,
                cache_ops_port=0,
            )
            service = build(settings)
            await running.enter_async_context(service.running())
            return await running.enter_async_context(Channel(service.address, tenant="acme"))

        yield start
