"""Watching invalidations over gRPC, and a policy that changes meanwhile."""

import asyncio
import shutil
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from cli.embedded.redis import RedisServer
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import CacheError, UnavailableError
from services.cache.app import build
from services.cache.settings import CacheSettings
from tests.integration.cache.conftest import POLICIES, TENANT, ServeCache
from tests.integration.cache.invalidation.calling import (
    Caller,
    edit,
    event,
    eventually_ready,
    following,
)


class TestWatching:
    async def test_tells_what_any_replica_did(self, here: Caller, there: Caller) -> None:
        """Everything that a copy could be stale by, with the store's time."""
        async with aclosing(here.watch()) as messages:
            started = await following(messages, "started")
            await there.set("k", ttl_class="video_metadata")
            await there.invalidate(tags=pb.TagsTarget(tags=["user:7"]))
            tag = await following(messages, "invalidation")
            await there.call("Delete", pb.DeleteRequest(namespace="video", key="k"))
            key = await following(messages, "invalidation")
            await there.invalidate(prefix=pb.PrefixTarget(namespace="video", prefix="f"))
            prefix = await following(messages, "invalidation")
            await there.invalidate(namespace="session")
            namespace = await following(messages, "invalidation")

        assert (started.epoch, started.sequence) == (tag.epoch, tag.previous_sequence)
        assert ["user:7"] == list(tag.invalidation.tags)
        assert [pb.EntryName(namespace="video", key="k")] == list(key.invalidation.entries)
        assert [pb.PrefixTarget(namespace="video", prefix="f")] == list(
            prefix.invalidation.prefixes
        )
        assert ["session"] == list(namespace.invalidation.namespaces)
        assert tag.sequence // 1_000 == tag.invalidation.invalidate_time.ToMilliseconds()

    async def test_beats_every_second(self, here: Caller) -> None:
        """Who hears nothing for three drops every copy."""
        loop = asyncio.get_running_loop()
        async with aclosing(here.watch()) as messages:
            await following(messages, "started")
            began = loop.time()
            for _ in range(3):
                await following(messages, "heartbeat")

        assert loop.time() - began < 5

    async def test_resumes(self, here: Caller, there: Caller) -> None:
        """At another replica, with nothing missed."""
        async with aclosing(here.watch()) as messages:
            last = await following(messages, "started")
        done = await here.invalidate(tags=pb.TagsTarget(tags=["meanwhile"]))

        async with aclosing(there.watch(last.epoch, last.sequence)) as messages:
            await following(messages, "started")
            told = await following(messages, "invalidation", "discontinuity")

        assert (last.sequence, done.sequence) == (told.previous_sequence, told.sequence)
        assert ["meanwhile"] == list(told.invalidation.tags)

    async def test_from_what_is_not_known_begins_with_a_discontinuity(self, here: Caller) -> None:
        """It says why, for logs."""
        async with aclosing(here.watch("0123456789abcdef", 5)) as messages:
            message = await following(messages, "discontinuity")

        assert "not known any more" in message.discontinuity.cause

    async def test_ends_when_the_service_drains(
        self, redis_url: str, serve_cache: ServeCache
    ) -> None:
        """At once: a stream would hold up the shutdown for its whole grace."""
        async with AsyncExitStack() as replica:
            channel = await replica.enter_async_context(serve_cache(redis_url))
            second = Channel(channel.target, tenant=TENANT)
            async with second, aclosing(Caller(second).watch()) as messages:
                await following(messages, "started")
                leaving = asyncio.create_task(replica.aclose())
                with pytest.raises(UnavailableError):
                    await following(messages, "discontinuity")
                await leaving

    async def test_ends_when_the_store_is_gone(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """Copies cannot be trusted without it."""
        async with (
            serve_cache(private_redis.url) as channel,
            aclosing(Caller(channel).watch()) as messages,
        ):
            await following(messages, "started")
            await private_redis.stop()
            with pytest.raises(CacheError):
                await following(messages, "discontinuity")


class TestPolicyReload:
    async def test_needs_no_restart(self, redis_url: str, tmp_path: Path) -> None:
        """A broken file is shown where operators look; a good one is in force soon after."""
        policy = tmp_path / "cache.yaml"
        shutil.copy(POLICIES / "cache.yaml", policy)
        settings = CacheSettings(
            redis_url=redis_url, policies_dir=tmp_path, cache_port=0, cache_ops_port=0
        )
        service = build(settings)
        async with service.running(), Channel(service.address, tenant=TENANT) as channel:
            caller = Caller(channel)
            port = int(service.ops_address.rpartition(":")[2])

            edit(policy, "default: nothing\n")
            ready = await eventually_ready(port, "conditions")
            broken = await caller.call("ListClasses", pb.ListClassesRequest())
            still = await caller.invalidate(event=event("plan.changed", user_id="u"))
            edit(policy, "default: a\nclasses: {a: {ttl: 1m}}\nevents: {new.one: ['n:{id}']}\n")
            fine = await eventually_ready(port)
            then = await caller.invalidate(event=event("new.one", id=1))

        assert "default names no class" in ready["conditions"]["policy"]
        assert ready["conditions"]["policy"] == broken.policy_error
        assert ("general", "plan:u") == (broken.default_class, still.tags[0])
        assert ({"service": "cache", "status": "ready"}, ["n:1"]) == (fine, list(then.tags))
