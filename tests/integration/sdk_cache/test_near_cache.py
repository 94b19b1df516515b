"""Copies near the caller: read without a network, dropped in time, followed by a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mainstay import Mainstay
from mainstay.cache import CacheClient, Hit, NearCacheOptions, NearStatistics
from mainstay.cache import near as near_module
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.context import request
from tests.integration.sdk_cache.scripted_cache import (
    ScriptedCache,
    ScriptedStream,
    entry,
    hit,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation

NAME = ("video", "1")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def keeping(peer: ScriptedCache) -> ScriptedCache:
    """Let the peer answer reads with an entry that may be kept."""
    peer.answer("Get", pb.GetResponse(hit=entry(b"v", near=MINUTE, tags=["t"])))
    return peer


@pytest.fixture
async def stream(near: CacheClient, keeping: ScriptedCache) -> ScriptedStream:
    """Let the client begin to keep copies, and return its stream."""
    return await started(near, keeping)


async def started(cache: CacheClient, peer: ScriptedCache) -> ScriptedStream:
    """Begin a tenant's stream by a first read, and keep a copy by a second."""
    await cache.get(*NAME)
    stream = await peer.accept()
    await stream.start()
    await until_kept(cache)
    return stream


async def until_kept(cache: CacheClient) -> None:
    """Read until a copy answers."""
    hits = statistics(cache).hits
    await until(cache, lambda now: now.hits > hits, read=True)


async def until(
    cache: CacheClient, condition: Callable[[NearStatistics], bool], *, read: bool = False
) -> None:
    """Wait until the near cache has noticed."""
    async with asyncio.timeout(10):
        while not condition(statistics(cache)):
            if read:
                await cache.get(*NAME)
            await asyncio.sleep(0.001)


def statistics(cache: CacheClient) -> NearStatistics:
    """Return what the near cache did."""
    found = cache.near_statistics()
    assert found is not None
    return found


async def reads(cache: CacheClient, peer: ScriptedCache) -> int:
    """Read once more and return how many reads have gone to the service by now."""
    await cache.get(*NAME)
    return len(peer.requests["Get"])


class TestHits:
    async def test_they_cost_no_call(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """A copy answers like the service, without it."""
        before = len(keeping.requests["Get"])
        found = [await near.get(*NAME) for _ in range(100)]

        assert before == len(keeping.requests["Get"])
        assert {b"v"} == {one.value for one in found if isinstance(one, Hit)}

    async def test_get_or_compute_uses_them(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """And keeps what it reads."""
        keeping.answer("GetOrLease", hit(b"w", near=MINUTE))
        found = [
            await near.get_or_compute("video", key, SlowComputation(b"never"))
            for key in ("1", "2", "2")
        ]

        assert [b"v", b"w", b"w"] == found
        assert 1 == len(keeping.requests["GetOrLease"])

    async def test_classes_that_allow_no_copies(
        self, near: CacheClient, peer: ScriptedCache
    ) -> None:
        """Nothing is kept, and no stream begun."""
        peer.answer("Get", pb.GetResponse(hit=entry(b"v")))

        assert [1, 2] == [await reads(near, peer) for _ in range(2)]
        assert 0 == statistics(near).streams

    async def test_before_the_stream_is_up(self, near: CacheClient, keeping: ScriptedCache) -> None:
        """Nothing is kept, and nothing served, until it says so."""
        await near.get(*NAME)
        await keeping.accept()

        assert [2, 3] == [await reads(near, keeping) for _ in range(2)]

    async def test_without_options(self, cache: CacheClient, keeping: ScriptedCache) -> None:
        """A client keeps copies only where it is asked to."""
        assert [1, 2] == [await reads(cache, keeping) for _ in range(2)]
        assert cache.near_statistics() is None


class TestInvalidations:
    @pytest.mark.parametrize(
        "target",
        [
            {"entries": [pb.EntryName(namespace="video", key="1")]},
            {"tags": ["t"]},
            {"prefixes": [pb.PrefixTarget(namespace="video", prefix="1")]},
            {"namespaces": ["video"]},
            {"everything": True},
        ],
        ids=["key", "tag", "prefix", "namespace", "everything"],
    )
    async def test_the_copy_goes(
        self,
        near: CacheClient,
        keeping: ScriptedCache,
        stream: ScriptedStream,
        target: dict[str, Any],
    ) -> None:
        """What the stream tells of is read anew; how late it was told is known."""
        before = len(keeping.requests["Get"])
        await stream.invalidate(1, **target)
        await until(near, lambda now: now.delay is not None)

        assert before + 1 == await reads(near, keeping)
        delay = statistics(near).delay
        assert delay is not None
        assert 0 <= delay < 10

    async def test_while_the_read_was_in_flight(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """What may have been read before is given back, and not kept."""
        answer = asyncio.Event()

        async def get(_: pb.GetRequest) -> pb.GetResponse:
            await answer.wait()
            return pb.GetResponse(hit=entry(b"old", near=MINUTE, tags=["t"]))

        keeping.on("Get", get)
        reading = asyncio.create_task(near.get("video", "2"))
        await keeping.asked("Get", times=len(keeping.requests["Get"]) + 1)
        await stream.invalidate(1, tags=["t"])
        await until(near, lambda now: now.delay is not None)
        answer.set()
        found = await reading
        copies = statistics(near).copies

        assert isinstance(found, Hit)
        assert (b"old", 1) == (found.value, copies)


class TestOwnChanges:
    @pytest.mark.parametrize(
        ("method", "response", "change"),
        [
            ("Set", pb.SetResponse(version=2), lambda c: c.set(*NAME, b"new")),
            ("Delete", pb.DeleteResponse(existed=True), lambda c: c.delete(*NAME)),
            ("Touch", pb.TouchResponse(existed=True), lambda c: c.touch(*NAME)),
            ("BatchDelete", pb.BatchDeleteResponse(), lambda c: c.delete_many("video", ["1"])),
            ("Increment", pb.IncrementResponse(value=1), lambda c: c.increment(*NAME)),
            ("Invalidate", pb.InvalidateResponse(), lambda c: c.invalidate_tags(["t"])),
            ("Invalidate", pb.InvalidateResponse(), lambda c: c.invalidate_keys("video", ["1"])),
            ("Invalidate", pb.InvalidateResponse(), lambda c: c.invalidate_prefix("video", "1")),
            ("Invalidate", pb.InvalidateResponse(), lambda c: c.invalidate_namespace("video")),
            (
                "Invalidate",
                pb.InvalidateResponse(tags=["t"]),
                lambda c: c.invalidate_event("user.updated", {"id": 1}),
            ),
        ],
    )
    async def test_the_copy_goes_at_once(
        self,
        near: CacheClient,
        keeping: ScriptedCache,
        stream: ScriptedStream,
        method: str,
        response: Any,
        change: Callable[[CacheClient], Any],
    ) -> None:
        """Whoever changes something reads his change, however late the stream is."""
        keeping.answer(method, response)
        before = len(keeping.requests["Get"])
        await change(near)

        assert before + 1 == await reads(near, keeping)

    async def test_a_read_that_ran_meanwhile(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """It asks the service, may bring the value that was replaced, and is not kept."""
        before = len(keeping.requests["Get"])

        async def set_while_reading(_: pb.SetRequest) -> pb.SetResponse:
            await near.get(*NAME)
            return pb.SetResponse(version=2)

        keeping.on("Set", set_while_reading)
        await near.set(*NAME, b"new")

        assert before + 1 == len(keeping.requests["Get"])
        assert 0 == statistics(near).copies

    async def test_a_change_that_fails(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """It may have arrived: the copy is gone all the same."""
        with pytest.raises(Exception, match="does not expect Set"):
            await near.set(*NAME, b"new")

        assert 0 == statistics(near).copies


class TestBrokenStreams:
    @pytest.mark.parametrize(
        "break_it",
        [
            lambda stream: stream.send(
                sequence=0, discontinuity=pb.Discontinuity(cause="lost its place")
            ),
            lambda stream: stream.send(sequence=9, previous=8, heartbeat=pb.Heartbeat()),
            lambda stream: stream.send(epoch="other", sequence=0, heartbeat=pb.Heartbeat()),
            lambda stream: stream.send(sequence=0),
        ],
        ids=["discontinuity", "gap", "epoch", "unknown"],
    )
    async def test_all_copies_go_and_the_stream_stays(
        self,
        near: CacheClient,
        keeping: ScriptedCache,
        stream: ScriptedStream,
        break_it: Callable[[ScriptedStream], Any],
    ) -> None:
        """Something may have been missed; from then on copies are kept again."""
        before = len(keeping.requests["Get"])
        await break_it(stream)
        await until(near, lambda now: now.flushes == 1)

        assert before + 1 == await reads(near, keeping)
        await until_kept(near)
        assert not stream.gone.is_set()

    async def test_a_stream_that_ends(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """Copies go at once, and come back with the next stream, from now on."""
        stream.ended.set()
        await until(near, lambda now: now.flushes == 1)
        before = len(keeping.requests["Get"])

        assert before + 1 == await reads(near, keeping)
        again = await keeping.accept()
        assert ("", 0) == (again.request.epoch, again.request.sequence)
        await again.start(sequence=70)
        await until_kept(near)

    async def test_a_stream_that_falls_silent(
        self,
        near: CacheClient,
        keeping: ScriptedCache,
        stream: ScriptedStream,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It is given up, and another one begun."""
        monkeypatch.setattr("mainstay.cache.near.SILENCE_SECONDS", 0.05)
        await stream.beat()
        async with asyncio.timeout(10):
            await stream.gone.wait()

        assert "acme" == (await keeping.accept()).tenant

    async def test_a_service_without_streams(
        self, near: CacheClient, keeping: ScriptedCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is tried again and again, and reads go to the service meanwhile."""
        monkeypatch.setattr("mainstay.cache.near._FIRST_PAUSE", 0.01)
        await near.get(*NAME)
        for _ in range(3):
            (await keeping.accept()).ended.set()

        assert 2 == await reads(near, keeping)


class TestTenants:
    async def test_each_has_its_own(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """Another tenant's copy is nobody's business, and its stream is in its name."""
        with request(tenant="globex"):
            other = await started(near, keeping)

        assert ("acme", "globex") == (stream.tenant, other.tenant)
        await other.invalidate(1, everything=True)
        await until(near, lambda now: now.delay is not None)
        before = len(keeping.requests["Get"])
        assert before == await reads(near, keeping)

    async def test_more_than_there_is_room_for(
        self, channel: Channel, keeping: ScriptedCache
    ) -> None:
        """They are served by the service alone, and take no room from whoever has it."""
        async with keeping_for(channel, max_tenants=1) as cache:
            await started(cache, keeping)
            with request(tenant="globex"):
                before = await reads(cache, keeping)

                assert before + 1 == await reads(cache, keeping)
            assert before + 1 == await reads(cache, keeping)

    async def test_an_idle_one_makes_room(self, channel: Channel, keeping: ScriptedCache) -> None:
        """Its stream ends, its copies go, and the other gets both."""
        async with keeping_for(channel, max_tenants=1, idle_seconds=0.0) as cache:
            idle = await started(cache, keeping)
            with request(tenant="globex"):
                await started(cache, keeping)
            async with asyncio.timeout(10):
                await idle.gone.wait()

            assert 1 == statistics(cache).streams


class TestClosing:
    async def test_the_stream_ends(
        self, near: CacheClient, keeping: ScriptedCache, stream: ScriptedStream
    ) -> None:
        """Nothing is left running, and nothing kept begins again."""
        await near.close()
        async with asyncio.timeout(10):
            await stream.gone.wait()
        await near.get(*NAME)

        assert 0 == statistics(near).streams

    async def test_the_facade_closes_it(self, keeping: ScriptedCache) -> None:
        """Before the connections, so that nothing runs into a closed one."""
        async with Mainstay(
            cache=keeping.address, tenant="acme", near=NearCacheOptions()
        ) as mainstay:
            stream = await started(mainstay.cache, keeping)
        async with asyncio.timeout(10):
            await stream.gone.wait()

        assert 0 == statistics(mainstay.cache).streams


@asynccontextmanager
async def keeping_for(channel: Channel, **options: Any) -> AsyncIterator[CacheClient]:
    """Return a client that keeps copies for as many tenants as the test says."""
    async with CacheClient(channel, near=NearCacheOptions(**options)) as cache:
        yield cache


def test_pauses_grow_and_differ() -> None:
    """They double up to five seconds, and half is left to chance."""
    bounds = [(0.05, 0.1), (0.1, 0.2), (0.2, 0.4)]
    pauses = [near_module._pause(failures) for failures in (1, 2, 3)]

    assert all(low <= pause <= high for pause, (low, high) in zip(pauses, bounds, strict=True))
    assert 2.5 <= near_module._pause(50) <= 5.0
