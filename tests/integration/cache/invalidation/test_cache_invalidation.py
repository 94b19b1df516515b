"""Invalidations over gRPC, on two replicas: acknowledged is seen, everywhere."""

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import CacheError, NotFoundError, ValidationError
from services.cache.keys import entry_key
from tests.integration.cache.conftest import TENANT, ServeCache
from tests.integration.cache.invalidation.calling import (
    TOUCHED,
    Caller,
    commands,
    event,
    fill,
)


class TestAcknowledged:
    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ({"keys": pb.KeysTarget(namespace="video", keys=["x", "k"])}, "KEY"),
            ({"tags": pb.TagsTarget(tags=["x", "user:7"])}, "TAG"),
            ({"prefix": pb.PrefixTarget(namespace="video", prefix="k")}, "PREFIX"),
            ({"namespace": "video"}, "NAMESPACE"),
            ({"event": event("video.updated", video_id=42)}, "EVENT"),
        ],
    )
    async def test_is_felt_on_every_replica(
        self, here: Caller, there: Caller, target: dict[str, Any], reason: str
    ) -> None:
        """Each time, whichever replica was told, and for nothing else."""
        for teller, reader in ((here, there), (there, here)):
            await teller.set("k", "user:7", "video:42")
            await teller.set("other", "user:8")
            await teller.set("k", "user:8", namespace="session")
            assert "v" == await reader.get("k")

            await teller.invalidate(**target)

            assert f"INVALIDATED_BY_{reason}" == await reader.get("k")
            assert "v" == await reader.get("k", namespace="session")
            if reason != "NAMESPACE":
                assert "v" == await reader.get("other")

    async def test_ends_nothing_that_is_written_later(self, here: Caller, there: Caller) -> None:
        """A tag goes on to be used."""
        for n in range(20):
            await here.invalidate(tags=pb.TagsTarget(tags=["user:7"]))
            await there.set("k", "user:7")

            assert "v" == await here.get("k"), n

    async def test_answers_its_sequence_and_tags(self, here: Caller) -> None:
        """Those asked for, each once, or those an event stands for."""
        first = await here.invalidate(tags=pb.TagsTarget(tags=["b", "a", "b"]))
        second = await here.invalidate(event=event("plan.changed", user_id="u"))
        third = await here.invalidate(namespace="video")

        assert (["b", "a"], ["plan:u", "membership:u"], []) == (
            list(first.tags),
            list(second.tags),
            list(third.tags),
        )
        assert 0 < first.sequence < second.sequence < third.sequence

    async def test_is_felt_while_many_read(self, here: Caller, there: Caller) -> None:
        """No read that begins afterwards finds the old value, however many are under way."""
        stop = asyncio.Event()

        async def keep_reading() -> None:
            while not stop.is_set():
                await there.get("k")

        readers = [asyncio.create_task(keep_reading()) for _ in range(5)]
        found = []
        for _ in range(30):
            await here.set("k", "user:7")
            await here.invalidate(tags=pb.TagsTarget(tags=["user:7"]))
            found.append(await there.get("k"))
        stop.set()
        await asyncio.gather(*readers)

        assert {"INVALIDATED_BY_TAG"} == set(found)

    async def test_is_felt_by_a_replica_that_starts_later(
        self, here: Caller, redis_url: str, serve_cache: ServeCache
    ) -> None:
        """A restart forgets nothing."""
        await here.set("k", "user:7")
        await here.invalidate(tags=pb.TagsTarget(tags=["user:7"]))

        async with serve_cache(redis_url) as channel:
            assert "INVALIDATED_BY_TAG" == await Caller(channel).get("k")

    async def test_is_felt_without_pub_sub(
        self, here: Caller, there: Caller, store: "redis_py.Redis"
    ) -> None:
        """Hints spare delays; what is true does not depend on them."""
        await here.set("k", "user:7")
        assert "v" == await there.get("k")
        await store.client_kill_filter(_type="pubsub")

        await here.invalidate(tags=pb.TagsTarget(tags=["user:7"]))

        assert "INVALIDATED_BY_TAG" == await there.get("k")

    async def test_survives_the_loss_of_the_store(
        self, here: Caller, there: Caller, store: "redis_py.Redis"
    ) -> None:
        """Entries that come back from a backup without their history are dead."""
        await here.set("k", "user:7")
        key = entry_key(TENANT, "video", "k")
        backup = await store.dump(key)
        await here.invalidate(tags=pb.TagsTarget(tags=["user:7"]))
        await store.flushall()
        assert backup is not None
        await store.restore(key, 0, backup)

        for caller in (here, there):
            assert "INVALIDATED_BY_NAMESPACE" == await caller.get("k")

    async def test_of_another_tenant_concerns_nobody_here(
        self, here: Caller, redis_url: str, channel: Channel
    ) -> None:
        """By none of the means, whatever the names."""
        await here.set("k", "user:7", "video:42")
        async with Channel(channel.target, tenant="other") as theirs:
            other = Caller(theirs)
            await other.invalidate(keys=pb.KeysTarget(namespace="video", keys=["k"]))
            await other.invalidate(tags=pb.TagsTarget(tags=["user:7"]))
            await other.invalidate(prefix=pb.PrefixTarget(namespace="video", prefix="k"))
            await other.invalidate(namespace="video")
            await other.invalidate(event=event("video.updated", video_id=42))

        assert "v" == await here.get("k")


class TestCost:
    async def test_is_the_same_for_any_number_of_entries(
        self, here: Caller, store: "redis_py.Redis"
    ) -> None:
        """Counted in Redis's own commands, those within scripts included."""
        costs = []
        for entries in (1, 20_000):
            await fill(store, await here.watch_head(), entries)
            assert "v" == await here.get("e0")
            before = await commands(store)
            await here.invalidate(tags=pb.TagsTarget(tags=["all"]))
            spent = await commands(store)
            costs.append({n: spent[n] - before.get(n, 0) for n in TOUCHED if n in spent})

            assert "INVALIDATED_BY_TAG" == await here.get("e0")
            assert "INVALIDATED_BY_TAG" == await here.get(f"e{entries - 1}")

        assert costs[0] == costs[1]
        assert {"hset": 1, "set": 1, "xadd": 1, "publish": 1} == {
            name: costs[0][name] for name in ("hset", "set", "xadd", "publish")
        }


# What an invalidation could be spending; the service also reads and counts for other reasons.


class TestRefused:
    @pytest.mark.parametrize(
        ("target", "fields"),
        [
            ({}, {"target"}),
            ({"keys": pb.KeysTarget(keys=["k"])}, {"keys.namespace"}),
            ({"keys": pb.KeysTarget(namespace="video")}, {"keys.keys"}),
            (
                {"keys": pb.KeysTarget(namespace="video", keys=["a", "", "\n"])},
                {"keys.keys[1]", "keys.keys[2]"},
            ),
            ({"keys": pb.KeysTarget(namespace="video", keys=["k"] * 1_001)}, {"keys.keys"}),
            ({"tags": pb.TagsTarget()}, {"tags.tags"}),
            ({"tags": pb.TagsTarget(tags=["a", "", "t" * 129])}, {"tags.tags[1]", "tags.tags[2]"}),
            ({"tags": pb.TagsTarget(tags=["a"] * 101)}, {"tags.tags"}),
            ({"prefix": pb.PrefixTarget(namespace="video")}, {"prefix.prefix"}),
            (
                {"prefix": pb.PrefixTarget(namespace="V", prefix="p" * 513)},
                {"prefix.namespace", "prefix.prefix"},
            ),
            ({"namespace": ""}, {"namespace"}),
            ({"namespace": "a:b"}, {"namespace"}),
            ({"event": event("plan.changed")}, {"event.data.user_id"}),
            ({"event": event("plan.changed", user_id=[1])}, {"event.data.user_id"}),
            ({"event": event("plan.changed", user_id="")}, {"event.data.user_id"}),
            ({"event": event("plan.changed", user_id="x" * 200)}, {"event.data.user_id"}),
        ],
    )
    async def test_names_every_wrong_field(
        self, here: Caller, target: dict[str, Any], fields: set[str]
    ) -> None:
        """As it stands in the request."""
        with pytest.raises(ValidationError) as caught:
            await here.invalidate(**target)

        assert fields == set(caught.value.fields)

    @pytest.mark.parametrize("kind", ["", "video.deleted", "VIDEO.UPDATED", "x" * 10_000])
    async def test_an_unknown_event_is_told_the_known_ones(self, here: Caller, kind: str) -> None:
        """A misspelt event that did nothing would be found out much later."""
        with pytest.raises(NotFoundError) as caught:
            await here.invalidate(event=event(kind))

        assert "EVENT_UNKNOWN" == caught.value.reason
        assert "membership.updated, plan.changed, session.ended" in caught.value.message

    async def test_does_nothing(self, here: Caller, store: "redis_py.Redis") -> None:
        """All or nothing: a batch with one wrong tag invalidates none."""
        await here.set("k", "good")
        with pytest.raises(ValidationError):
            await here.invalidate(tags=pb.TagsTarget(tags=["good", ""]))

        assert "v" == await here.get("k")


class TestCacheDown:
    async def test_promises_nothing(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """It fails at once and can be repeated until it succeeds."""
        async with serve_cache(private_redis.url) as channel:
            caller = Caller(channel)
            await caller.set("k", "user:7")
            await private_redis.stop()

            for target in (
                {"tags": pb.TagsTarget(tags=["user:7"])},
                {"keys": pb.KeysTarget(namespace="video", keys=["k"])},
            ):
                with pytest.raises(CacheError):
                    await caller.invalidate(**target)
