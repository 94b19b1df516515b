"""A place that is held for as long as a block runs."""

import asyncio
import time
from typing import Any

import pytest

from mainstay.context import request
from mainstay.errors import (
    NotFoundError,
    PreconditionError,
    RateLimitError,
    RateLimitStoreError,
    UnavailableError,
)
from mainstay.ratelimit import RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.scripted_limits import (
    PATIENCE,
    ScriptedLimits,
    degraded,
    denied,
    lease,
    place,
)

SUBJECT, ENDPOINT = "user:42", "video_processing"
LOST = PreconditionError("the lease was lost", reason="LEASE_LOST")


@pytest.fixture(autouse=True)
def releasing(peer: ScriptedLimits) -> None:
    """Take back whatever is released."""
    peer.answer("ReleaseLease", pb.ReleaseLeaseResponse(released=True))


class TestBlock:
    async def test_holds_a_place_and_gives_it_back(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Before whatever comes after the block."""
        peer.answer("AcquireLease", place("mine"))
        async with limits.concurrency(SUBJECT, ENDPOINT) as held:
            inside = list(peer.requests["ReleaseLease"])
            still_held = not held.lost.is_set()
            held.check()

        assert ([], True) == (inside, still_held)
        assert ["mine"] == [each.token for each in peer.requests["ReleaseLease"]]

    async def test_that_fails_gives_it_back_too(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """And the error is the block's."""
        peer.answer("AcquireLease", place())
        with pytest.raises(KeyError):
            async with limits.concurrency(SUBJECT, ENDPOINT):
                raise KeyError

        assert 1 == len(peer.requests["ReleaseLease"])

    async def test_does_not_run_when_all_places_are_taken(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The error says how long to wait, and carries what `enforce` would tell."""
        header = pb.Header(name="retry-after", value="30")
        peer.answer("AcquireLease", pb.AcquireLeaseResponse(decision=denied(headers=[header])))
        with pytest.raises(RateLimitError, match="used up the limit 3 of the rule chat") as caught:
            async with limits.concurrency(SUBJECT, ENDPOINT):
                pytest.fail("there was no place")

        facts = caught.value.metadata
        assert (30.0, "RATE_LIMITED") == (caught.value.retry_after, caught.value.reason)
        assert (SUBJECT, "chat", "30") == (facts["subject"], facts["rule"], facts["retry-after"])

    async def test_does_not_run_when_the_rule_is_closed_without_counters(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Which is nobody's using up of anything."""
        decision = denied(None, reason=pb.DENIAL_REASON_STORE_UNAVAILABLE, degraded=True)
        peer.answer("AcquireLease", pb.AcquireLeaseResponse(decision=decision))
        with pytest.raises(RateLimitStoreError, match="closed meanwhile"):
            async with limits.concurrency(SUBJECT, ENDPOINT):
                pytest.fail("nobody could tell")

    async def test_runs_without_a_place_where_none_is_counted(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Open, or unlimited: there is nothing to give back."""
        peer.answer("AcquireLease", pb.AcquireLeaseResponse(decision=degraded()))
        async with limits.concurrency(SUBJECT, ENDPOINT) as held:
            decision = held.decision

        assert (True, True) == (decision.allowed, decision.degraded)
        assert [] == peer.requests["ReleaseLease"]

    async def test_an_endpoint_without_a_rule_is_a_mistake(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """As the service says."""
        error = NotFoundError("no rule", resource_type="rule", resource_name=ENDPOINT)
        peer.answer("AcquireLease", error)
        with pytest.raises(NotFoundError):
            async with limits.concurrency(SUBJECT, ENDPOINT):
                pytest.fail("no rule covers it")

    async def test_a_repeated_acquisition_takes_one_place(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """A transient error may hide that the place was taken: the repeat names it alike."""
        peer.answer("AcquireLease", UnavailableError("a moment"), place())
        async with limits.concurrency(SUBJECT, ENDPOINT):
            pass
        first, second = [each.request_id for each in peer.requests["AcquireLease"]]

        assert first
        assert first == second

    async def test_a_place_that_cannot_be_given_back_harms_nobody(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """It comes back by itself."""
        peer.answer("AcquireLease", place())
        peer.answer("ReleaseLease", RateLimitStoreError("gone"))
        async with limits.concurrency(SUBJECT, ENDPOINT):
            pass

        assert peer.requests["ReleaseLease"]


class TestCancellation:
    async def test_of_the_block_gives_the_place_back(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Once, also when it comes while the place is being given back."""
        peer.answer("AcquireLease", place("mine"))
        returned = peer.holding("ReleaseLease", pb.ReleaseLeaseResponse(released=True))
        entered = asyncio.Event()

        async def work() -> None:
            async with limits.concurrency(SUBJECT, ENDPOINT):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        async with asyncio.timeout(PATIENCE):
            await entered.wait()
        task.cancel()
        await peer.asked("ReleaseLease")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        returned.set()
        await limits.close()

        assert ["mine"] == [each.token for each in peer.requests["ReleaseLease"]]

    async def test_while_acquiring_gives_back_what_arrives_later(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Nobody would renew it, and until its time was over nobody else could have it."""
        acquired = peer.holding("AcquireLease", place("late"))

        async def work() -> None:
            async with limits.concurrency(SUBJECT, ENDPOINT):
                pytest.fail("the caller went away")

        task = asyncio.create_task(work())
        await peer.asked("AcquireLease")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        acquired.set()
        (released,) = await peer.asked("ReleaseLease")

        assert "late" == released.token


class TestKeeping:
    async def test_renews_in_a_third_of_its_time(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """So that two renewals may fail."""
        times: list[float] = []

        async def renew(asked: Any) -> pb.RenewLeaseResponse:
            times.append(time.monotonic())
            return pb.RenewLeaseResponse(lease=lease(asked.token, 0.6))

        peer.answer("AcquireLease", place("mine", 0.6))
        peer.on("RenewLease", renew)
        began = time.monotonic()
        async with limits.concurrency(SUBJECT, ENDPOINT) as held:
            requests = await peer.asked("RenewLease", 5)
            lost = held.lost.is_set()

        assert not lost
        assert {"mine"} == {each.token for each in requests}
        assert 5 * 0.2 <= times[4] - began
        assert times[0] - began < 0.6

    async def test_a_place_of_somebody_else_is_lost(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The block is told at once and not cancelled; `check` raises."""
        peer.answer("AcquireLease", place(seconds=0.3))
        peer.answer("RenewLease", LOST)
        async with limits.concurrency(SUBJECT, ENDPOINT) as held:
            async with asyncio.timeout(PATIENCE):
                await held.lost.wait()
            with pytest.raises(PreconditionError, match="stop and acquire it again") as caught:
                held.check()

        assert "LEASE_LOST" == caught.value.reason
        assert 1 == len(peer.requests["RenewLease"])

    async def test_a_place_that_nobody_can_renew_is_lost_when_its_time_is_over(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Not before: an outage shorter than that harms nobody."""
        peer.answer("AcquireLease", place(seconds=0.6))
        peer.answer("RenewLease", RateLimitStoreError("gone"))
        began = time.monotonic()
        async with limits.concurrency(SUBJECT, ENDPOINT) as held, asyncio.timeout(PATIENCE):
            await held.lost.wait()
            lost_after = time.monotonic() - began

        assert 0.6 <= lost_after
        assert 2 <= len(peer.requests["RenewLease"])

    async def test_survives_an_outage(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """That ends before the place does."""
        peer.answer("AcquireLease", place(seconds=3.0))
        renewed = pb.RenewLeaseResponse(lease=lease())
        gone = RateLimitStoreError("gone")
        peer.answer("RenewLease", gone, gone, gone, gone, renewed)
        async with limits.concurrency(SUBJECT, ENDPOINT) as held:
            await peer.asked("RenewLease", 5)
            lost = held.lost.is_set()

        assert not lost

    async def test_belongs_to_the_tenant_of_the_block(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """So does every call that it makes in the background."""
        peer.answer("AcquireLease", place(seconds=0.3))
        peer.answer("RenewLease", pb.RenewLeaseResponse(lease=lease(seconds=0.3)))
        with request(tenant="other"):
            async with limits.concurrency(SUBJECT, ENDPOINT):
                await peer.asked("RenewLease")

        assert {"other"} == set(peer.tenants)
