"""What get_or_compute does with each answer, with failures, and with the lease."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mainstay.cache import NOTHING, CacheClient, Computed
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import (
    CacheError,
    ExternalApiError,
    ValidationError,
)
from tests.integration.sdk_cache.computing.starting import NAME, start
from tests.integration.sdk_cache.scripted_cache import (
    LEASE_LOST,
    ScriptedCache,
    entry,
    hit,
    leased,
    stamp,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation


class TestComputationsThatFail:
    async def test_everybody_is_told(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """The service too, in at most 500 characters, before anybody here."""
        slow = SlowComputation(ValueError("x" * 1_000))
        callers = [start(cache.get_or_compute(*NAME, slow)) for _ in range(3)]
        await slow.begun()
        slow.finish()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        (abandoned,) = lending.requests["Abandon"]

        assert [ValueError] * 3 == [type(outcome) for outcome in outcomes]
        assert "ValueError: " + "x" * 488 == abandoned.error

    async def test_the_last_attempt_failed(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """The service says so where there is nothing else to serve; it names the wait."""
        failed = pb.ComputationFailed(error="ValueError: no")
        failed.retry_after.FromMilliseconds(700)
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(failed=failed))

        with pytest.raises(ExternalApiError, match="ValueError: no") as caught:
            await cache.get_or_compute(*NAME, SlowComputation(b"never"))
        assert ("COMPUTATION_FAILED", 0.7) == (caught.value.reason, caught.value.retry_after)

    async def test_it_returns_something_else(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """What is neither bytes, Computed nor NOTHING is the caller's mistake, said at once."""

        async def compute() -> Any:
            return "text"

        with pytest.raises(TypeError, match="video/1 gave str; return bytes"):
            await cache.get_or_compute(*NAME, compute)


class TestWhatIsStored:
    async def test_as_the_call_says(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """Class, tags, content type and how long it took go with the value."""
        await cache.get_or_compute(
            *NAME,
            SlowComputation(b"v", done=True),
            ttl_class="video_metadata",
            tags=["a"],
            content_type="text/plain",
            lease_duration=timedelta(seconds=3),
        )
        (asked,), (fill,) = lending.requests["GetOrLease"], lending.requests["Fill"]

        assert ("video_metadata", 3) == (asked.ttl_class, asked.lease_duration.seconds)
        assert (b"v", "text/plain") == (fill.value.value, fill.value.content_type)
        assert ("video_metadata", ["a"]) == (fill.ttl_class, list(fill.tags))
        assert timedelta() < fill.compute_duration.ToTimedelta() < timedelta(seconds=5)

    async def test_as_the_computation_says(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """What it says goes before what the call says; tags are added."""
        computed = Computed(
            b"v", tags=("b", "a"), content_type="image/png", ttl=timedelta(seconds=9)
        )
        compute = SlowComputation(computed, done=True)
        await cache.get_or_compute(*NAME, compute, ttl_class="general", tags=["a"])
        (fill,) = lending.requests["Fill"]

        assert (9, "", ["a", "b"]) == (fill.ttl.seconds, fill.ttl_class, list(fill.tags))
        assert "image/png" == fill.value.content_type

    async def test_nothing(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """It is kept as long as the class believes it, whatever the call's own TTL."""
        compute = SlowComputation(NOTHING, done=True)
        found = await cache.get_or_compute(*NAME, compute, ttl=timedelta(hours=1))
        (fill,) = lending.requests["Fill"]

        assert found is None
        assert ("negative", None) == (fill.WhichOneof("outcome"), fill.WhichOneof("expiry"))

    async def test_nothing_that_is_known(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """It is an answer: nobody computes."""
        negative = pb.Negative(expire_time=stamp())
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(negative=negative))

        assert await cache.get_or_compute(*NAME, SlowComputation(b"never")) is None

    async def test_ttl_and_class(self, cache: CacheClient) -> None:
        """Both at once is refused before anything is asked or computed."""
        with pytest.raises(ValidationError, match="exclude each other"):
            await cache.get_or_compute(
                *NAME, SlowComputation(b"v"), ttl=timedelta(seconds=1), ttl_class="general"
            )


class TestTheLease:
    async def test_it_is_extended_while_it_computes(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """At a third of its duration, each time by what the caller asked for."""
        lending.answer("GetOrLease", leased(seconds=0.03))
        held = pb.ExtendResponse(held=True)
        held.duration.FromMilliseconds(30)
        lending.answer("Extend", held)
        slow = SlowComputation(b"v")
        caller = start(cache.get_or_compute(*NAME, slow, lease_duration=timedelta(seconds=0.03)))
        extended = await lending.asked("Extend", times=3)
        slow.finish()
        await caller

        assert {b"token-1"} == {extend.lease_token for extend in extended}
        assert 30_000_000 == extended[0].lease_duration.nanos

    async def test_it_is_lost(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """The computation goes on, for the caller, and the lease is not asked for again."""
        lending.answer("GetOrLease", leased(seconds=0.01))
        lending.answer("Extend", pb.ExtendResponse(held=False))
        lending.answer("Fill", LEASE_LOST)
        slow = SlowComputation(b"v")
        caller = start(cache.get_or_compute(*NAME, slow))
        await lending.asked("Extend")
        slow.finish()

        assert b"v" == await caller
        assert 1 == len(lending.requests["Extend"])

    async def test_the_wait_is_over(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """Without a lease the value is computed, and not stored."""
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(miss=pb.Miss(reason=pb.MISS_REASON_COLD)))

        assert b"v" == await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))
        assert ["GetOrLease"] == list(peer.requests)

    async def test_joining_a_computation_without_a_lease(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """Nobody joins once it has begun: nothing tells whether it is still right."""
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(miss=pb.Miss(reason=pb.MISS_REASON_COLD)))
        slow = SlowComputation(b"old")
        first = start(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        peer.answer("GetOrLease", hit(b"new"))

        assert b"new" == await cache.get_or_compute(*NAME, slow)
        slow.finish()
        assert b"old" == await first


class TestHits:
    async def test_a_fresh_one(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """One question, nothing computed."""
        peer.answer("GetOrLease", hit(b"v"))

        assert b"v" == await cache.get_or_compute(*NAME, SlowComputation(b"never"))
        assert ["GetOrLease"] == list(peer.requests)

    async def test_fresh_only_is_passed_on(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """And does not join those who take stale values."""
        peer.answer("GetOrLease", hit(b"v"))
        await asyncio.gather(
            cache.get_or_compute(*NAME, SlowComputation(b"never"), fresh_only=True),
            cache.get_or_compute(*NAME, SlowComputation(b"never")),
        )

        assert {True, False} == {asked.fresh_only for asked in peer.requests["GetOrLease"]}

    async def test_an_error_of_the_service(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """A mistake of the caller's is told, not computed around."""
        peer.answer("GetOrLease", ValidationError("bad", fields={"key": "too long"}))

        with pytest.raises(ValidationError, match="bad"):
            await cache.get_or_compute(*NAME, SlowComputation(b"never"))


class TestRaiseOnUnavailable:
    async def test_it_is_raised(self, channel: Channel, peer: ScriptedCache) -> None:
        """Who prefers an error to a computation gets it, and does not spoil it for others."""
        peer.answer("GetOrLease", CacheError("gone"))
        async with CacheClient(channel) as cache:
            raising = cache.get_or_compute(*NAME, SlowComputation(b"never"), on_unavailable="raise")
            computing = cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))
            outcomes = await asyncio.gather(raising, computing, return_exceptions=True)

        assert (CacheError, b"v") == (type(outcomes[0]), outcomes[1])


class TestAnUnknownAnswer:
    async def test_it_counts_as_a_miss(self, cache: CacheClient, peer: ScriptedCache) -> None:
        """A result that only a newer service knows leaves the value to be computed."""
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(waited=True))

        assert b"v" == await cache.get_or_compute(*NAME, SlowComputation(b"v", done=True))

    async def test_a_stale_one_with_the_same_version(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """Stale without a lease: another refreshes it, and it is served."""
        peer.answer("GetOrLease", pb.GetOrLeaseResponse(stale=entry(b"stale")))

        assert b"stale" == await cache.get_or_compute(*NAME, SlowComputation(b"never"))
