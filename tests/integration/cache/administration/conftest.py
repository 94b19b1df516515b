"""Replicas of the cache and their clients, under a policy of the tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mainstay.cache.client import CacheClient
from tests.integration.cache.administration.asking import POLICY
from tests.integration.cache.conftest import ServeCache


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Write a policy with classes of short lives."""
    (tmp_path / "cache.yaml").write_text(POLICY)
    return tmp_path


@pytest.fixture
async def replicas(
    redis_url: str, serve_cache: ServeCache, policies: Path
) -> AsyncIterator[list[CacheClient]]:
    """Connect to two replicas."""
    async with AsyncExitStack() as stack:
        yield [
            CacheClient(
                await stack.enter_async_context(
                    serve_cache(redis_url, policies_dir=policies, cache_statistics_interval=0.05)
                )
            )
            for _ in range(2)
        ]


@pytest.fixture
def cache(replicas: list[CacheClient]) -> CacheClient:
    """Return the client of the first replica."""
    return replicas[0]
