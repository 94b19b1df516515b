"""Several clients, as in several processes, compute once between them on the real service."""

import asyncio
import time
from collections.abc import Callable

import pytest

from mainstay.cache import NOTHING, CacheClient, Hit, MissReason
from mainstay.cache.results import Miss
from mainstay.context import request
from mainstay.errors import ExternalApiError
from tests.integration.sdk_cache.slow_computation import SlowComputation

NAME = ("video", "1")

Connect = Callable[[], CacheClient]


class TestOneComputation:
    async def test_four_clients_with_twenty_five_callers_each(self, connect: Connect) -> None:
        """A hundred cold callers: one computation, and everybody has its value."""
        clients = [connect() for _ in range(4)]
        slow = SlowComputation(b"v")
        callers = [
            asyncio.create_task(client.get_or_compute(*NAME, slow))
            for client in clients
            for _ in range(25)
        ]
        await slow.begun()
        slow.finish()

        assert [b"v"] * 100 == await asyncio.gather(*callers)
        assert 1 == slow.times

    async def test_a_client_that_gives_up(self, connect: Connect) -> None:
        """Whoever waits elsewhere computes at once, long before the lease would have ended."""
        leaving, waiting = connect(), connect()
        slow = SlowComputation(b"old")
        left = asyncio.create_task(leaving.get_or_compute(*NAME, slow))
        await slow.begun()
        other = asyncio.create_task(
            waiting.get_or_compute(*NAME, SlowComputation(b"new", done=True))
        )
        began = time.monotonic()
        left.cancel()

        assert b"new" == await other
        assert time.monotonic() - began < 5.0

    async def test_an_invalidation_while_it_computes(self, connect: Connect) -> None:
        """Whoever asks after it gets what was computed after it."""
        here, there = connect(), connect()
        old = SlowComputation(b"old")
        first = asyncio.create_task(here.get_or_compute(*NAME, old, tags=["t"]))
        await old.begun()
        await there.invalidate_tags(["t"])
        second = asyncio.create_task(
            here.get_or_compute(*NAME, SlowComputation(b"new", done=True), tags=["t"])
        )
        await asyncio.sleep(0)
        old.finish()

        assert (b"old", b"new") == (await first, await second)

    async def test_tenants_share_nothing(self, cache: CacheClient) -> None:
        """Each computes its own."""
        await cache.get_or_compute(*NAME, SlowComputation(b"acme", done=True))
        with request(tenant="globex"):
            found = await cache.get_or_compute(*NAME, SlowComputation(b"globex", done=True))

        assert b"globex" == found


class TestOutcomes:
    async def test_nothing(self, cache: CacheClient) -> None:
        """It is remembered."""
        nothing = SlowComputation(NOTHING, done=True)
        found = [await cache.get_or_compute(*NAME, nothing) for _ in range(2)]

        assert [None, None] == found
        assert 1 == nothing.times
        assert Miss(reason=MissReason.NEGATIVE) == await cache.get(*NAME)

    async def test_a_failure(self, connect: Connect) -> None:
        """The caller has its error; whoever asks next is told of it, and computes nothing."""
        here, there = connect(), connect()
        with pytest.raises(ValueError, match="broken"):
            await here.get_or_compute(*NAME, SlowComputation(ValueError("broken"), done=True))
        with pytest.raises(ExternalApiError, match="ValueError: broken") as caught:
            await there.get_or_compute(*NAME, SlowComputation(b"never"))

        assert "COMPUTATION_FAILED" == caught.value.reason

    async def test_a_stale_value(self, cache: CacheClient) -> None:
        """It is served at once, and replaced behind the caller's back."""
        await cache.get_or_compute(
            *NAME, SlowComputation(b"old", done=True), ttl_class="stale_soon"
        )
        await asyncio.sleep(0.002)  # its soft TTL of a millisecond
        slow = SlowComputation(b"new")
        stale = await cache.get_or_compute(*NAME, slow, ttl_class="stale_soon")
        await slow.begun()
        waiting = asyncio.create_task(
            cache.get_or_compute(*NAME, slow, ttl_class="stale_soon", fresh_only=True)
        )
        slow.finish()

        assert (b"old", b"new") == (stale, await waiting)

    async def test_a_stale_value_while_the_source_fails(self, cache: CacheClient) -> None:
        """It is served on."""
        await cache.get_or_compute(
            *NAME, SlowComputation(b"old", done=True), ttl_class="stale_soon"
        )
        await asyncio.sleep(0.002)  # its soft TTL of a millisecond
        broken = SlowComputation(ValueError("broken"), done=True)
        found = [
            await cache.get_or_compute(*NAME, broken, ttl_class="stale_soon") for _ in range(3)
        ]

        assert [b"old"] * 3 == found

    async def test_a_value_that_is_too_large(self, cache: CacheClient) -> None:
        """It is the caller's all the same, and nobody waits for it."""
        large = bytes(2 * 1024 * 1024)
        found = await cache.get_or_compute(*NAME, SlowComputation(large, done=True))
        offer = await cache.get_or_lease(*NAME)

        assert large == found
        assert offer.lease is not None


class TestNearCopies:
    async def test_another_clients_invalidation(self, connect: Connect) -> None:
        """It reaches the copy through the stream, within moments."""
        here, there = connect(), connect()
        await here.set(*NAME, b"old", ttl_class="near", tags=["t"])
        await _until_near(here)
        await there.set(*NAME, b"new", ttl_class="near", tags=["t"])
        await _until_read(here, b"new")
        await _until_near(here)
        await there.invalidate_tags(["t"])
        await _until_read(here, None)

        statistics = here.near_statistics()
        assert statistics is not None
        assert statistics.delay is not None
        assert (1, 0) == (statistics.streams, statistics.flushes)

    async def test_a_class_that_allows_none(self, cache: CacheClient) -> None:
        """Nothing is kept of it."""
        await cache.set(*NAME, b"v")
        for _ in range(3):
            await cache.get(*NAME)

        statistics = cache.near_statistics()
        assert statistics is not None
        assert (0, 0, 0) == (statistics.hits, statistics.copies, statistics.streams)

    async def test_own_writes_are_read_at_once(self, cache: CacheClient) -> None:
        """Whatever is on its way on the stream."""
        await cache.set(*NAME, b"0", ttl_class="near")
        await _until_near(cache)
        seen = []
        for number in range(50):
            await cache.set(*NAME, b"%d" % number, ttl_class="near")
            found = await cache.get(*NAME)
            seen.append(found.value if isinstance(found, Hit) else None)

        assert [b"%d" % number for number in range(50)] == seen


async def _until_near(cache: CacheClient) -> None:
    """Read until a copy answers."""
    statistics = cache.near_statistics()
    assert statistics is not None
    async with asyncio.timeout(10):
        before = statistics.hits
        while (now := cache.near_statistics()) and now.hits == before:
            await cache.get(*NAME)


async def _until_read(cache: CacheClient, value: bytes | None) -> None:
    """Read until the value is this one; None: until there is none."""
    async with asyncio.timeout(10):
        while True:
            found = await cache.get(*NAME)
            if (found.value if isinstance(found, Hit) else None) == value:
                return
            await asyncio.sleep(0)
