"""With Redis gone, frozen or full every method answers a named error in bounded time."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.cache import Item, Refused, Written
from mainstay.cache.client import CacheClient, Hit, Miss
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import CacheError, ConfigurationError
from services.cache.app import build
from services.cache.cache import WRITTEN_TOGETHER
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

    async def test_what_is_there_can_still_be_made_stale(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """Who may not be shown something any more does not have to wait for memory."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            for key in ("deleted", "tagged", "named"):
                await cache.set("video", key, b"v", tags=[key])
            await _fill(private_redis)
            await cache.delete("video", "deleted")
            await cache.invalidate_tags(["tagged"])
            await cache.invalidate_keys("video", ["named"])
            found = await cache.get_many("video", ["deleted", "tagged", "named"])
            left = {use.quota: use.used for use in (await cache.stats()).quotas}

        assert all(isinstance(outcome, Miss) for outcome in found.values())
        assert 1 == left["entries"]

    async def test_a_tenant_without_a_history_reads_on(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """Its history begins with its first read, which is no reason to refuse that."""
        async with serve_cache(private_redis.url) as channel:
            await _fill(private_redis)
            found = await CacheClient(channel).get("video", "v1")

        assert isinstance(found, Miss)


class TestSomeOfABatch:
    async def test_are_removed_and_settled_where_others_cannot_be(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """As on a cluster that has lost a master: each key has its own answer."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            for key in ("good", "bad"):
                await cache.set("video", key, b"v")
            await _allow_only(private_redis, "~*good*", "~*cache}*")
            removed = await cache.delete_many("video", ["good", "bad"])
            left = {use.quota: use.used for use in (await cache.stats()).quotas}

        assert (True, "CACHE_UNAVAILABLE") == (removed["good"], _reason(removed["bad"]))
        assert 1 == left["entries"]

    async def test_are_written_where_a_whole_part_cannot_be(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """What was written before is told, although all of the last part has failed."""
        items = [Item(key=f"good{n}", value=b"v") for n in range(WRITTEN_TOGETHER)]
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "good0", b"v")
            await _allow_only(private_redis, "~*good*", "~*cache}*")
            written = await cache.set_many("video", [*items, Item(key="bad", value=b"v")])

        assert "CACHE_UNAVAILABLE" == _reason(written.pop("bad"))
        assert all(isinstance(result, Written) for result in written.values())

    async def test_all_of_it_fails_without_a_store(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """A client that retries what is unavailable retries these too."""
        async with serve_cache(private_redis.url) as channel:
            stub: Any = pb_grpc.CacheServiceStub(channel.raw)
            await private_redis.stop()
            item = pb.BatchSetItem(key="k")
            calls = [
                (stub.BatchSet, pb.BatchSetRequest(namespace="video", items=[item])),
                (stub.BatchTouch, pb.BatchTouchRequest(namespace="video", keys=["k"])),
                (stub.BatchDelete, pb.BatchDeleteRequest(namespace="video", keys=["k"])),
            ]
            for method, request in calls:
                with pytest.raises(CacheError):
                    await channel.unary(method, request)


class TestCopiesThatCannotBeTold:
    async def test_the_fill_fails_and_the_books_are_right(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """What it replaced is gone, whoever could be told of it."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "v1", b"old", ttl_class="video_metadata", tags=["t"])
            await cache.invalidate_tags(["t"])
            asked = await cache.get_or_lease("video", "v1")
            assert asked.lease is not None
            everything_but_the_log = ("head", "epochs", "usage", "ends", "held", "stats*")
            parts = [f"~*cache}}:{part}" for part in everything_but_the_log]
            await _allow_only(private_redis, "~*v1*", *parts)
            with pytest.raises(CacheError):
                await cache.fill(asked.lease, b"new")
            left = {use.quota: use.used for use in (await cache.stats()).quotas}

        assert 1 == left["entries"]


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


async def _allow_only(server: RedisServer, *keys: str) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as raw:
        command: Any = raw.execute_command
        await command("ACL", "SETUSER", "default", "resetkeys", *keys)


def _reason(outcome: object) -> str:
    return outcome.error.reason if isinstance(outcome, Refused) else ""


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


async def _fill(server: RedisServer) -> None:
    """Leave no memory, in a Redis that has scripts which run all the same."""
    async with redis.asyncio.Redis.from_url(server.url) as raw:
        version = str((await raw.info("server"))["redis_version"])
        if int(version.partition(".")[0]) < 7:
            pytest.skip(f"a full Redis {version} runs no script that writes; 7.0 does")
        await raw.config_set("maxmemory", "1")
