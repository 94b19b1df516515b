"""With Redis gone, frozen or full every method answers a named error in bounded time."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.cache.client import CacheClient, Hit
from mainstay.channel import Channel
from mainstay.errors import CacheError, ConfigurationError
from services.cache.app import build
from services.cache.settings import CacheSettings

ServeCache = Callable[[str], AbstractAsyncContextManager[Channel]]
Call = Callable[[CacheClient], Awaitable[object]]

# Three attempts, each at most a Redis timeout (0.25 s) and a pause, on a busy machine.
BOUND_SECONDS = 3.0

EVERY_METHOD = [
    pytest.param(lambda cache: cache.get("video", "v1"), id="Get"),
    pytest.param(lambda cache: cache.set("video", "v1", b"v"), id="Set"),
    pytest.param(lambda cache: cache.delete("video", "v1"), id="Delete"),
    pytest.param(lambda cache: cache.get_many("video", ["v1", "v2"]), id="BatchGet"),
]


class TestRedisDoesNotAnswer:
    @pytest.mark.parametrize("call", EVERY_METHOD)
    @pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
    async def test_every_method_says_so_in_bounded_time(
        self, private_redis: RedisServer, serve_cache: ServeCache, call: Call, frozen: bool
    ) -> None:
        """Nothing hangs, neither on a closed connection nor on a silent one."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "v1", b"v")
            if frozen:
                private_redis.pause()
            else:
                await private_redis.kill()
            began = time.monotonic()
            with pytest.raises(CacheError) as caught:
                await call(cache)
            took = time.monotonic() - began

        assert caught.value.reason == "CACHE_UNAVAILABLE"
        assert took < BOUND_SECONDS

    async def test_it_serves_again_when_redis_is_back_without_a_restart(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """What was written before the crash and reached the disk is served after it."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "v1", b"v")
            await private_redis.stop()
            with pytest.raises(CacheError):
                await cache.get("video", "v1")
            await private_redis.start()
            found = await _until_answered(cache)

        assert isinstance(found, Hit)


class TestRedisIsFull:
    async def test_a_write_says_so_and_reads_go_on(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """A Redis that evicts nothing refuses writes: CACHE_FULL, not a mystery."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "v1", b"v")
            async with redis.asyncio.Redis.from_url(private_redis.url) as raw:
                await raw.config_set("maxmemory", "1")
            with pytest.raises(CacheError) as caught:
                await cache.set("video", "v2", b"v")
            found = await cache.get("video", "v1")

        assert caught.value.reason == "CACHE_FULL"
        assert isinstance(found, Hit)


class TestWrongPolicy:
    async def test_a_file_with_a_mistake_stops_the_start(self, tmp_path: Path) -> None:
        """The service does not run on half a policy."""
        (tmp_path / "cache.yaml").write_text("default: a\nclasses:\n  a: {ttl: 5}\n")

        with pytest.raises(ConfigurationError, match=r"cache\.yaml is refused:\n  line 3"):
            build(_settings(tmp_path))

    async def test_a_missing_file_stops_the_start(self, tmp_path: Path) -> None:
        """The message names the file and the setting that points to it."""
        with pytest.raises(ConfigurationError, match="MAINSTAY_POLICIES_DIR"):
            build(_settings(tmp_path))


async def _until_answered(cache: CacheClient) -> object:
    """Ask until the service has found its Redis again; the test's own timeout bounds it."""
    while True:
        try:
            return await cache.get("video", "v1")
        except CacheError:
            continue  # the client itself pauses between its attempts


def _settings(policies: Path) -> CacheSettings:
    return CacheSettings(
        redis_url="redis://127.0.0.1:1/0",
        policies_dir=policies,
        cache_port=0,
        cache_ops_port=0,
    )
