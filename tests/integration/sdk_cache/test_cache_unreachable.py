"""Without a cache values are computed here, once for all callers, and the detour is short."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mainstay.cache import CacheClient, reachability
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import CacheError, DeadlineError, MainstayError, UnavailableError
from tests.integration.sdk_cache.scripted_cache import (
    STORED,
    ScriptedCache,
    hit,
    leased,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation

NAME = ("video", "1")
GONE = CacheError("Redis does not answer")


def never(peer: ScriptedCache) -> Callable[[Any], Awaitable[Any]]:
    """Return a handler that answers nothing, as a frozen process does."""

    async def handler(_: Any) -> Any:
        await asyncio.Event().wait()

    return handler


class TestComputingHere:
    @pytest.mark.parametrize(
        "error",
        [GONE, UnavailableError("no connection"), DeadlineError("too late")],
        ids=["store gone", "service gone", "deadline"],
    )
    async def test_once_for_all_callers(
        self, cache: CacheClient, peer: ScriptedCache, error: MainstayError
    ) -> None:
        """The source is spared though there is no cache, and nothing is stored."""
        peer.answer("GetOrLease", error)
        slow = SlowComputation(b"v")
        callers = [asyncio.create_task(cache.get_or_compute(*NAME, slow)) for _ in range(10)]
        await slow.begun()
        callers.append(asyncio.create_task(cache.get_or_compute(*NAME, slow)))
        await asyncio.sleep(0)
        slow.finish()

        assert [b"v"] * 11 == await asyncio.gather(*callers)
        assert 1 == slow.times
        assert not peer.requests["Fill"]

    async def test_the_service_is_not_there_at_all(self, unused_tcp_port: int) -> None:
        """A refused connection costs less than a second, the next call next to nothing."""
        async with (
            Channel(f"127.0.0.1:{unused_tcp_port}") as channel,
            CacheClient(channel) as cache,
        ):
            began = time.monotonic()
            first = await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))
            then = time.monotonic()
            second = await cache.get_or_compute(*NAME, SlowComputation(b"w", done=True))
            after = time.monotonic()

        assert (b"v", b"w") == (first, second)
        assert then - began < 2.0
        assert after - then < 0.5

    async def test_the_cache_goes_while_it_computes(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """The value is for everybody who waits for it."""
        peer.answer("GetOrLease", leased())
        peer.answer("Fill", GONE)
        peer.answer("Abandon", GONE)
        slow = SlowComputation(b"v")
        first = asyncio.create_task(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        second = asyncio.create_task(cache.get_or_compute(*NAME, slow))
        await asyncio.sleep(0)
        slow.finish()

        assert [b"v", b"v"] == list(await asyncio.gather(first, second))
        assert 1 == slow.times


class TestBreaker:
    async def test_nobody_asks_for_a_while(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """After a failure the next calls compute at once."""
        peer.answer("GetOrLease", GONE)
        for _ in range(5):
            await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))

        assert 1 == len(peer.requests["GetOrLease"])

    async def test_who_prefers_the_error_gets_it_at_once(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """It names the cause and when to try again."""
        peer.answer("GetOrLease", GONE)
        for _ in range(2):
            with pytest.raises(CacheError, match="Redis does not answer") as caught:
                await cache.get_or_compute(*NAME, SlowComputation(b"never"), on_unavailable="raise")

        assert 1 == len(peer.requests["GetOrLease"])
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= reachability.PAUSE_SECONDS

    async def test_one_tries_again(
        self, cache: CacheClient, peer: ScriptedCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the pause is over one call is let through; once answered, all are."""
        peer.answer("GetOrLease", GONE)
        monkeypatch.setattr(reachability, "PAUSE_SECONDS", 0.0)
        await cache.get_or_compute(*NAME, SlowComputation(b"here", done=True))
        monkeypatch.setattr(reachability, "PAUSE_SECONDS", 60.0)
        answer = asyncio.Event()

        async def get_or_lease(_: Any) -> pb.GetOrLeaseResponse:
            await answer.wait()
            return hit(b"there")

        peer.on("GetOrLease", get_or_lease)
        trial = asyncio.create_task(cache.get_or_compute(*NAME, SlowComputation(b"here")))
        await peer.asked("GetOrLease", times=2)
        other = await cache.get_or_compute("video", "2", SlowComputation(b"here", done=True))
        answer.set()

        assert (b"here", b"there") == (other, await trial)
        assert b"there" == await cache.get_or_compute("video", "2", SlowComputation(b"here"))

    @pytest.mark.parametrize(
        "error",
        [
            CacheError("no room", reason="CACHE_FULL"),
            UnavailableError("too many", reason="OVERLOADED"),
        ],
        ids=["full", "overloaded"],
    )
    async def test_what_concerns_one_call(
        self, cache: CacheClient, peer: ScriptedCache, error: MainstayError
    ) -> None:
        """A service that refuses one call is there for the next."""
        peer.answer("GetOrLease", error)
        await cache.get_or_compute(*NAME, SlowComputation(b"here", done=True))
        peer.answer("GetOrLease", hit(b"there"))

        assert b"there" == await cache.get_or_compute(*NAME, SlowComputation(b"here"))


class TestSilence:
    async def test_a_frozen_service(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """Whoever is held asks whether anybody is there, and goes on without after a second."""
        peer.on("GetOrLease", never(peer))
        peer.on("ListClasses", never(peer))
        began = time.monotonic()
        found = await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))

        assert b"v" == found
        assert time.monotonic() - began < 3.0

    async def test_a_service_that_holds(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """One that answers the question is waited for."""
        answer = asyncio.Event()

        async def get_or_lease(_: Any) -> pb.GetOrLeaseResponse:
            await answer.wait()
            return hit(b"there")

        peer.on("GetOrLease", get_or_lease)
        peer.answer("ListClasses", pb.ListClassesResponse())
        held = [
            asyncio.create_task(cache.get_or_compute("video", key, SlowComputation(b"here")))
            for key in "abc"
        ]
        await peer.asked("ListClasses")
        answer.set()

        assert [b"there"] * 3 == await asyncio.gather(*held)
        assert 1 == len(peer.requests["ListClasses"])

    async def test_a_service_without_the_question(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """An error is an answer too."""
        answer = asyncio.Event()

        async def get_or_lease(_: Any) -> pb.GetOrLeaseResponse:
            await answer.wait()
            return hit(b"there")

        peer.on("GetOrLease", get_or_lease)
        held = asyncio.create_task(cache.get_or_compute(*NAME, SlowComputation(b"here")))
        await peer.asked("ListClasses")
        answer.set()

        assert b"there" == await held

    async def test_a_fill_that_is_not_answered(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """It costs a second and some, not the caller's patience."""
        peer.answer("GetOrLease", leased())
        peer.on("Fill", never(peer))
        peer.answer("Abandon", pb.AbandonResponse(held=True))
        began = time.monotonic()
        found = await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))

        assert b"v" == found
        assert time.monotonic() - began < 3.0


class TestRecovery:
    async def test_the_value_is_stored_again(
        self, cache: CacheClient, peer: ScriptedCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the cache is back everything goes through it as before."""
        monkeypatch.setattr(reachability, "PAUSE_SECONDS", 0.0)
        peer.answer("GetOrLease", GONE)
        await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))
        peer.answer("GetOrLease", leased())
        peer.answer("Fill", STORED)
        await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))

        assert 1 == len(peer.requests["Fill"])
