"""With Redis gone: who computes, who is told, and what is dropped."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import Gauge

from cli.embedded.redis import RedisServer
from mainstay.cache import CacheClient, Hit, Miss, NearCacheOptions, NearStatistics
from mainstay.channel import Channel
from mainstay.errors import CacheError
from services.cache import invalidation_metrics
from services.cache import metrics as cache_metrics
from services.cache.app import build
from services.cache.settings import CacheSettings
from shared.telemetry import metrics
from tests.integration.sdk_cache.slow_computation import SlowComputation
from tests.integration.shared.waiting import until

POLICIES = Path(__file__).parents[2] / "policies"
NAME = ("faults", "k")
LEASE = timedelta(seconds=30)
# A connection that is silent is given up after a second and the timeout of a command.
NOTICED_SECONDS = 4.0


@pytest.fixture
async def address(private_redis: RedisServer) -> AsyncIterator[str]:
    """Run a service on a Redis that the test may break."""
    settings = CacheSettings(
        redis_url=private_redis.url, policies_dir=POLICIES, cache_port=0, cache_ops_port=0
    )
    service = build(settings)
    async with service.running():
        yield service.address


@asynccontextmanager
async def client(address: str, *, near: bool = False) -> AsyncIterator[CacheClient]:
    options = NearCacheOptions() if near else None
    async with (
        Channel(address, tenant="acme") as channel,
        CacheClient(channel, near=options) as cache,
    ):
        yield cache


@pytest.fixture
async def cache(address: str) -> AsyncIterator[CacheClient]:
    async with client(address) as cache:
        yield cache


def shown(gauge: Gauge) -> float:
    return float(next(iter(gauge.collect())).samples[0].value)


async def until_breaker(*, is_open: bool) -> None:
    """Wait until commands fail at once, or no more."""
    await until(lambda: shown(metrics.redis_breaker_open) == is_open)


def figures(cache: CacheClient) -> NearStatistics:
    statistics = cache.near_statistics()
    assert statistics is not None
    return statistics


async def watch(cache: CacheClient) -> None:
    async for _ in cache.watch_invalidations():
        pass


class TestWithoutRedis:
    async def test_one_computation_for_a_process(
        self, private_redis: RedisServer, cache: CacheClient
    ) -> None:
        """Callers in one process share what one of them computes, and nothing of it is kept."""
        await private_redis.kill()
        await until_breaker(is_open=True)
        work = SlowComputation(b"alone")
        callers = [asyncio.create_task(cache.get_or_compute(*NAME, work)) for _ in range(50)]
        await work.begun()
        work.finish()
        values = await asyncio.gather(*callers)
        await private_redis.start()
        await until_breaker(is_open=False)

        assert [b"alone"] * 50 == values
        assert 1 == work.times
        assert isinstance(await cache.get(*NAME), Miss)

    @pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "killed"])
    async def test_those_who_are_held(
        self, private_redis: RedisServer, address: str, cache: CacheClient, frozen: bool
    ) -> None:
        """Who waits for another's computation is told at once, as who watches is, and computes."""
        slow, own = SlowComputation(b"too late"), SlowComputation(b"own", done=True)
        async with client(address) as other:
            computing = asyncio.create_task(cache.get_or_compute(*NAME, slow, lease_duration=LEASE))
            await slow.begun()
            held = asyncio.create_task(other.get_or_compute(*NAME, own, lease_duration=LEASE))
            watching = asyncio.create_task(watch(other))
            asking = asyncio.create_task(other.get_or_lease(*NAME, wait=LEASE))
            await until(lambda: shown(cache_metrics.waiters) == 2)
            await until(lambda: shown(invalidation_metrics.watchers) == 1)
            if frozen:
                private_redis.pause()
            else:
                await private_redis.kill()
            lost = time.monotonic()
            assert b"own" == await held
            waited = time.monotonic() - lost
            for told in (watching, asking):
                with pytest.raises(CacheError):
                    await told
            slow.finish()
            assert b"too late" == await computing

        assert waited < NOTICED_SECONDS

    async def test_near_copies(
        self, private_redis: RedisServer, address: str, cache: CacheClient
    ) -> None:
        """They are dropped when the stream ends, and what changed meanwhile is read afterwards."""
        async with client(address, near=True) as near:
            await cache.set(*NAME, b"old", ttl_class="video_metadata")
            async with asyncio.timeout(20):
                while not figures(near).hits:
                    await near.get(*NAME)
            await private_redis.kill()
            await until(lambda: figures(near).flushes)
            with pytest.raises(CacheError):
                await near.get(*NAME)
            await private_redis.start()
            await until_breaker(is_open=False)
            await cache.invalidate_keys(NAME[0], [NAME[1]])
            gone = await near.get(*NAME)
            await cache.set(*NAME, b"new", ttl_class="video_metadata")
            found = await near.get(*NAME)
            hits = figures(near).hits
            async with asyncio.timeout(20):
                while figures(near).hits == hits:
                    again = await near.get(*NAME)

        assert isinstance(gone, Miss)
        assert isinstance(found, Hit)
        assert isinstance(again, Hit)
        assert b"new" == found.value == again.value
