"""Once an invalidation is acknowledged, no read through any replica finds what was before."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis_py
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from cli.embedded.redis import RedisServer
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import CacheError, NotFoundError, UnavailableError, ValidationError
from services.cache.app import build
from services.cache.entry import Entry
from services.cache.frame import encode
from services.cache.keys import entry_key
from services.cache.settings import CacheSettings
from tests.integration.cache.conftest import POLICIES, TENANT, ServeCache
from tests.integration.health.plain_http import ask

PATIENCE = 10.0


class Caller:
    """One who calls one replica, as any language would."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)

    async def call(self, method: str, request: Message) -> Any:
        return await self.channel.unary(getattr(self._stub, method), request)

    async def set(self, key: str, *tags: str, namespace: str = "video", **fields: Any) -> int:
        request = pb.SetRequest(namespace=namespace, key=key, value=b"v", tags=tags, **fields)
        return int((await self.call("Set", request)).version)

    async def get(self, key: str, *, namespace: str = "video") -> str:
        """Return the value, or why there is none."""
        response = await self.call("Get", pb.GetRequest(namespace=namespace, key=key))
        if response.HasField("hit"):
            return str(response.hit.value.decode())
        return pb.MissReason.Name(response.miss.reason).removeprefix("MISS_REASON_")

    async def invalidate(self, **target: Any) -> Any:
        return await self.call("Invalidate", pb.InvalidateRequest(**target))

    async def watch_head(self) -> int:
        """Return the sequence of the last invalidation."""
        async with aclosing(self.watch()) as messages:
            return (await anext(messages)).sequence

    async def watch(
        self, epoch: str = "", sequence: int = 0
    ) -> AsyncGenerator[pb.WatchInvalidationsResponse]:
        request = pb.WatchInvalidationsRequest(epoch=epoch, sequence=sequence)
        stream = self.channel.server_stream(self._stub.WatchInvalidations, request, timeout=60)
        async with aclosing(stream):
            async for message in stream:
                yield message


@pytest.fixture
def here(channel: Channel) -> Caller:
    """Call one replica."""
    return Caller(channel)


@pytest.fixture
async def there(redis_url: str, serve_cache: ServeCache) -> AsyncIterator[Caller]:
    """Call another replica on the same store."""
    async with serve_cache(redis_url) as channel:
        yield Caller(channel)


def event(kind: str, **data: Any) -> pb.EventTarget:
    struct = Struct()
    struct.update(data)
    return pb.EventTarget(type=kind, data=struct)


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
TOUCHED = ("hset", "set", "xadd", "publish", "del", "unlink", "scan", "sadd", "smembers", "expire")


async def commands(store: "redis_py.Redis") -> dict[str, int]:
    stats = await store.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}


async def fill(store: "redis_py.Redis", stamp: int, count: int) -> None:
    """Write entries with a tag, past the service: its own writes would take a minute."""
    async with store.pipeline(transaction=False) as pipeline:
        for n in range(count):
            entry = Entry(b"v", "", secrets.randbits(64), 1, None, None, stamp, ("all", f"t{n}"))
            pipeline.set(entry_key(TENANT, "video", f"e{n}"), encode(entry))
        await pipeline.execute()


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


async def following(
    messages: AsyncGenerator[pb.WatchInvalidationsResponse], *kinds: str
) -> pb.WatchInvalidationsResponse:
    """Return the next message of one of some kinds."""
    async with asyncio.timeout(PATIENCE):
        while (message := await anext(messages)).WhichOneof("event") not in kinds:
            pass
    return message


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


def edit(path: Path, text: str) -> None:
    path.write_text(text)


async def eventually_ready(port: int, *also: str) -> dict[str, Any]:
    """Wait until the operations port shows conditions, or none."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await ask(port, "/readyz")
            status: dict[str, Any] = json.loads(answer.body)
            if {"service", "status", *also} == set(status):
                return status
            await asyncio.sleep(0.05)
