"""One computation for all who ask, whoever leaves and whatever becomes of its value."""

import asyncio

import pytest

from mainstay.cache import CacheClient
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.context import current, request
from mainstay.errors import (
    CancelledError,
    DeadlineError,
    QuotaError,
)
from tests.integration.sdk_cache.computing.starting import NAME, start
from tests.integration.sdk_cache.scripted_cache import (
    INVALIDATED,
    LEASE_LOST,
    STORED,
    ScriptedCache,
    hit,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation


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
