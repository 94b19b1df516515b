"""`get_or_compute` computes once for everybody, and gives nobody what was over when he asked."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mainstay.cache import NOTHING, CacheClient, Computed
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.context import current, request
from mainstay.errors import (
    CacheError,
    CancelledError,
    DeadlineError,
    ExternalApiError,
    QuotaError,
    ValidationError,
)
from tests.integration.sdk_cache.scripted_cache import (
    INVALIDATED,
    LEASE_LOST,
    STORED,
    ScriptedCache,
    entry,
    hit,
    leased,
    stamp,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation

NAME = ("video", "1")


@pytest.fixture
def lending(peer: ScriptedCache) -> ScriptedCache:
    """Let the peer lend a lease to whoever asks, and store what it is given."""
    peer.answer("GetOrLease", leased())
    peer.answer("Fill", STORED)
    peer.answer("Abandon", pb.AbandonResponse(held=True))
    return peer


def start(work: Any) -> asyncio.Task[Any]:
    """Run beside the test."""
    return asyncio.create_task(work)


class TestOneComputation:
    async def test_all_callers_share_it(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """Twenty-five callers at once: one question, one computation, one fill."""
        slow = SlowComputation(b"v")
        callers = [start(cache.get_or_compute(*NAME, slow)) for _ in range(25)]
        await slow.begun()
        slow.finish()

        assert [b"v"] * 25 == await asyncio.gather(*callers)
        assert 1 == slow.times
        assert [1, 1] == [len(lending.requests[method]) for method in ("GetOrLease", "Fill")]

    async def test_whoever_comes_while_it_computes(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """He joins: the service stores only what nothing has invalidated since he came."""
        slow = SlowComputation(b"v")
        first = start(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        second = start(cache.get_or_compute(*NAME, slow))
        await asyncio.sleep(0)
        slow.finish()

        assert [b"v", b"v"] == list(await asyncio.gather(first, second))
        assert 1 == slow.times

    async def test_whoever_comes_when_the_fill_was_sent(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """He asks for himself: the fill may be accepted before an invalidation he has seen."""
        answer = asyncio.Event()

        async def fill(_: pb.FillRequest) -> pb.FillResponse:
            await answer.wait()
            return STORED

        lending.on("Fill", fill)
        first = start(cache.get_or_compute(*NAME, SlowComputation(b"old", done=True)))
        await lending.asked("Fill")
        lending.answer("GetOrLease", hit(b"new"))
        second = await cache.get_or_compute(*NAME, SlowComputation(b"never"))
        answer.set()

        assert (b"old", b"new") == (await first, second)

    async def test_whoever_comes_while_the_service_is_asked(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """A value that was read before he came is none for him; he asks again."""
        answer = asyncio.Event()

        async def get_or_lease(_: pb.GetOrLeaseRequest) -> pb.GetOrLeaseResponse:
            if len(peer.requests["GetOrLease"]) > 1:
                return hit(b"new")
            await answer.wait()
            return hit(b"old")

        peer.on("GetOrLease", get_or_lease)
        first = start(cache.get_or_compute(*NAME, SlowComputation(b"never")))
        await peer.asked("GetOrLease")
        second = start(cache.get_or_compute(*NAME, SlowComputation(b"never")))
        await asyncio.sleep(0)
        answer.set()

        assert [b"old", b"new"] == list(await asyncio.gather(first, second))

    async def test_other_keys_namespaces_and_tenants(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """Nothing is shared across any of them."""
        slow = SlowComputation(b"v")
        callers = [start(cache.get_or_compute(*name, slow)) for name in (NAME, ("video", "2"))]
        callers.append(start(cache.get_or_compute("user", "1", slow)))
        with request(tenant="globex"):
            callers.append(start(cache.get_or_compute(*NAME, slow)))
        await slow.begun(times=4)
        slow.finish()
        await asyncio.gather(*callers)

        assert 4 == slow.times
        asked = [
            tenant for tenant in lending.tenants[: len(lending.requests["GetOrLease"])] if tenant
        ]
        assert {"acme": 3, "globex": 1} == {name: asked.count(name) for name in set(asked)}

    async def test_the_computation_runs_in_its_starters_request(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """It, and what is asked for it, carry the request id of the first caller."""
        seen = []

        async def compute() -> bytes:
            context = current()
            seen.append(context.request_id if context else None)
            return b"v"

        with request(request_id="request-7"):
            await cache.get_or_compute(*NAME, compute)

        assert ["request-7"] == seen
        assert {"request-7"} == set(lending.request_ids)


class TestFillsThatAreRefused:
    @pytest.mark.parametrize("refusal", [LEASE_LOST, INVALIDATED], ids=["lost", "invalidated"])
    async def test_late_joiners_start_over(
        self, cache: CacheClient, lending: ScriptedCache, refusal: pb.FillResponse
    ) -> None:
        """Who asked before it began has his value; who came later might get what is over."""
        lending.answer("Fill", refusal)
        slow = SlowComputation(b"old")
        early = [start(cache.get_or_compute(*NAME, slow)) for _ in range(2)]
        await slow.begun()
        late = start(cache.get_or_compute(*NAME, slow))
        await asyncio.sleep(0)
        lending.answer("GetOrLease", hit(b"new"))
        slow.finish()

        assert [b"old", b"old", b"new"] == await asyncio.gather(*early, late)

    async def test_no_room(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """Everybody gets the value, and the lease goes back so that nobody waits for it."""
        lending.answer("Fill", QuotaError("full", violations={"entries": "10 at most"}))
        slow = SlowComputation(b"v")
        first = start(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        second = start(cache.get_or_compute(*NAME, slow))
        await asyncio.sleep(0)
        slow.finish()

        assert [b"v", b"v"] == list(await asyncio.gather(first, second))
        (abandoned,) = await lending.asked("Abandon")
        assert ("", b"token-1") == (abandoned.error, abandoned.lease_token)


class TestCallersWhoLeave:
    async def test_one_is_cancelled(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """Even if it is the first one, the others get their value."""
        slow = SlowComputation(b"v")
        first, second = (start(cache.get_or_compute(*NAME, slow)) for _ in range(2))
        await slow.begun()
        first.cancel()
        await asyncio.wait({first})
        slow.finish()

        assert b"v" == await second
        assert first.cancelled()

    async def test_one_has_less_time(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """His time runs out by name; the others go on."""
        slow = SlowComputation(b"v")
        hasty = start(cache.get_or_compute(*NAME, slow, timeout=0.05))
        patient = start(cache.get_or_compute(*NAME, slow))
        with pytest.raises(DeadlineError, match="video/1 was not there in time"):
            await hasty
        slow.finish()

        assert b"v" == await patient

    async def test_all_leave(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """The computation is cancelled, and the lease given back without an error."""
        slow = SlowComputation(b"v")
        callers = [start(cache.get_or_compute(*NAME, slow)) for _ in range(2)]
        await slow.begun()
        for caller in callers:
            caller.cancel()
        (abandoned,) = await lending.asked("Abandon")

        assert ("", b"token-1") == (abandoned.error, abandoned.lease_token)
        assert slow.cancelled

    async def test_all_leave_while_the_service_holds_them(
        self, cache: CacheClient, peer: ScriptedCache
    ) -> None:
        """The call is broken off, so that the service need not hold it for nobody."""
        broken_off = asyncio.Event()

        async def hold(_: pb.GetOrLeaseRequest) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                broken_off.set()

        peer.on("GetOrLease", hold)
        caller = start(cache.get_or_compute(*NAME, SlowComputation(b"never")))
        await peer.asked("GetOrLease")
        caller.cancel()
        async with asyncio.timeout(10):
            await broken_off.wait()

        assert ["GetOrLease"] == list(peer.requests)

    async def test_one_comes_after_all_have_left(
        self, cache: CacheClient, lending: ScriptedCache
    ) -> None:
        """He starts anew and is not cancelled with them."""
        slow = SlowComputation(b"v")
        first = start(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        first.cancel()
        await asyncio.wait({first})

        assert b"w" == await cache.get_or_compute(*NAME, SlowComputation(b"w", done=True))

    async def test_the_client_is_closed(self, cache: CacheClient, lending: ScriptedCache) -> None:
        """Who waits is told so, the lease goes back, and the client takes no more."""
        slow = SlowComputation(b"v")
        caller = start(cache.get_or_compute(*NAME, slow))
        await slow.begun()
        await cache.close()

        assert 1 == len(lending.requests["Abandon"])
        with pytest.raises(CancelledError, match="computation of video/1 was cancelled"):
            await caller
        with pytest.raises(CancelledError, match="client is closed"):
            await cache.get_or_compute(*NAME, slow)


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
