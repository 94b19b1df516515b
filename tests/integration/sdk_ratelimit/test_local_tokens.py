"""Shares of a limit that are spent in this process, against a service that does as it is told."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from mainstay import Mainstay
from mainstay.channel import Channel
from mainstay.context import request
from mainstay.errors import (
    PreconditionError,
    RateLimitStoreError,
    UnavailableError,
    ValidationError,
)
from mainstay.ratelimit import LocalTokens, RateLimitClient
from mainstay.ratelimit.token_source import RETURN_SECONDS
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.scripted_limits import (
    PATIENCE,
    ScriptedLimits,
    allowed,
    degraded,
    denied,
    share,
)

SUBJECT, ENDPOINT = "user:42", "/api/events"
RESERVE = "ReserveTokens"

Holding = Callable[[int], LocalTokens]


@pytest.fixture(autouse=True)
def returning(peer: ScriptedLimits) -> None:
    """Take back whatever is returned."""
    peer.answer("ReturnTokens", pb.ReturnTokensResponse(returned=1))


@pytest.fixture
async def tokens(limits: RateLimitClient) -> AsyncIterator[LocalTokens]:
    """Return a spender that holds ten at most."""
    async with limits.local_tokens(SUBJECT, ENDPOINT, share=10) as spender:
        yield spender


def granting(peer: ScriptedLimits, *, seconds: float = 60.0) -> None:
    """Give everybody what they ask for, as shares that are numbered."""

    async def grant(asked: Any) -> pb.ReserveTokensResponse:
        number = len(peer.requests[RESERVE])
        return share(asked.amount, f"share-{number}", seconds)

    peer.on(RESERVE, grant)


async def spend_until(tokens: LocalTokens, reached: Callable[[], bool]) -> None:
    """Spend one by one until something has happened."""
    async with asyncio.timeout(PATIENCE):
        while not reached():
            await tokens.spend()
            await asyncio.sleep(0.001)


def returned(peer: ScriptedLimits) -> dict[str, int]:
    return {each.token: each.unused for each in peer.requests["ReturnTokens"]}


class TestSpending:
    async def test_what_is_held_needs_no_call(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """One call for the first share, none for the next spends."""
        granting(peer)
        decisions = [await tokens.spend() for _ in range(5)]
        (asked,) = peer.requests[RESERVE]

        assert [True] * 5 == [each.allowed for each in decisions]
        assert (SUBJECT, ENDPOINT) == (asked.subject, asked.endpoint)
        assert (10, 1) == (asked.amount, asked.min_amount)
        assert 5 == tokens.held

    async def test_the_next_share_comes_before_this_one_is_used_up(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Once for all who spend meanwhile, and only as much as was spent."""
        granting(peer)
        await tokens.spend(5)
        arrived = peer.holding(RESERVE, share(6, "second"))
        for _ in range(4):
            await tokens.spend()
        await peer.asked(RESERVE, 2)
        arrived.set()
        await spend_until(tokens, lambda: tokens.held > 1)
        second = peer.requests[RESERVE][1]

        assert 2 == len(peer.requests[RESERVE])
        assert (6, 1) == (second.amount, second.min_amount)

    async def test_who_waits_is_served_in_turn(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """By as few calls as their costs take, and never two at once."""
        at_once = most = 0

        async def grant(asked: Any) -> pb.ReserveTokensResponse:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return share(asked.amount)

        peer.on(RESERVE, grant)
        decisions = await asyncio.gather(*(tokens.spend() for _ in range(50)))

        assert [True] * 50 == [each.allowed for each in decisions]
        assert 1 == most
        assert 50 <= sum(asked.amount for asked in peer.requests[RESERVE]) <= 60
        assert len(peer.requests[RESERVE]) <= 11

    async def test_who_needs_much_is_not_overtaken(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """By those who came later and need little: else it might wait for ever."""
        arrived, done = asyncio.Event(), list[int]()

        async def grant(asked: Any) -> pb.ReserveTokensResponse:
            first, second, *_ = [*peer.requests[RESERVE], None, None]
            if asked is first:
                return share(10)
            if asked is second:
                await arrived.wait()
                return share(3)
            return share(asked.min_amount)

        async def spend(cost: int) -> None:
            await tokens.spend(cost)
            done.append(cost)

        peer.on(RESERVE, grant)
        await spend(8)
        await peer.asked(RESERVE, 2)
        waiting = [asyncio.create_task(spend(cost)) for cost in (7, 3)]
        await asyncio.sleep(0)
        arrived.set()
        await asyncio.gather(*waiting)

        assert [8, 7, 3] == done

    async def test_a_cost_above_the_share_is_asked_for_as_a_whole(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Less would be of no use."""
        granting(peer)
        await tokens.spend(2)
        decision = await tokens.spend(25)
        asked = peer.requests[RESERVE][1]

        assert decision.allowed
        assert (17, 17) == (asked.amount, asked.min_amount)
        assert 0 == tokens.held

    @pytest.mark.parametrize("cost", [0, -1, 1_000_001])
    async def test_a_cost_that_is_none_is_a_mistake(
        self, peer: ScriptedLimits, tokens: LocalTokens, cost: int
    ) -> None:
        """Also when there is enough."""
        granting(peer)
        await tokens.spend()
        with pytest.raises(ValidationError, match="give 1 to 1,000,000"):
            await tokens.spend(cost)

        assert 9 == tokens.held

    async def test_a_share_that_is_none_is_a_mistake(self, limits: RateLimitClient) -> None:
        """It is noticed before anything is asked."""
        with pytest.raises(ValidationError, match="the share is 0"):
            limits.local_tokens(SUBJECT, ENDPOINT, share=0)

    async def test_belongs_to_the_tenant_it_was_made_for(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Whoever spends: a share is of one tenant."""
        granting(peer)
        with request(tenant="first"):
            tokens = limits.local_tokens(SUBJECT, ENDPOINT, share=4)
        with request(tenant="second"):
            for _ in range(6):
                await tokens.spend()
            await tokens.close()

        assert {"first"} == set(peer.tenants)


class TestDenial:
    async def test_is_the_service_s_decision(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """It says how long to wait."""
        peer.answer(RESERVE, pb.ReserveTokensResponse(decision=denied(30)))
        decision = await tokens.spend()

        assert (False, 30.0, 3) == (decision.allowed, decision.retry_after, decision.limit)

    async def test_is_believed_for_a_moment(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Who is denied again and again makes no calls."""
        peer.answer(RESERVE, pb.ReserveTokensResponse(decision=denied(30)))
        decisions = [await tokens.spend() for _ in range(20)]

        assert [False] * 20 == [each.allowed for each in decisions]
        assert 1 == len(peer.requests[RESERVE])

    async def test_is_forgotten_when_waiting_is_over(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Then the service is asked again."""
        peer.answer(RESERVE, pb.ReserveTokensResponse(decision=denied(0.05)), share(10))
        first = await tokens.spend()
        await spend_until(tokens, lambda: tokens.held > 0)

        assert not first.allowed

    async def test_of_a_large_cost_is_none_of_a_small_one(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """There may be as much as that."""
        peer.answer(RESERVE, pb.ReserveTokensResponse(decision=denied(30)), share(3))
        large = await tokens.spend(8)
        small = await tokens.spend(2)

        assert (False, True) == (large.allowed, small.allowed)

    async def test_in_the_background_spares_what_is_held(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """All that was granted is spent first."""
        peer.answer(RESERVE, share(10), pb.ReserveTokensResponse(decision=denied(30)))
        decisions = [await tokens.spend() for _ in range(10)]
        await peer.asked(RESERVE, 2)
        last = await tokens.spend()

        assert [True] * 10 == [each.allowed for each in decisions]
        assert not last.allowed


class TestEndOfShare:
    async def test_what_was_not_spent_comes_back(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Without anybody spending: it counts as consumed until then."""
        granting(peer, seconds=0.5)
        began = time.monotonic()
        await tokens.spend(3)
        await peer.asked("ReturnTokens")
        took = time.monotonic() - began

        assert {"share-1": 7} == returned(peer)
        assert 0 == tokens.held
        assert took < 0.5 + PATIENCE / 4

    async def test_what_has_ended_is_not_spent(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """Another is reserved."""
        granting(peer, seconds=0.2)
        await tokens.spend()
        await peer.asked("ReturnTokens")
        decision = await tokens.spend()

        assert decision.allowed
        assert 2 == len(peer.requests[RESERVE])

    async def test_another_takes_its_place_before(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """So that who spends little does not wait either; the old one goes back at once."""
        granting(peer, seconds=2.0)
        async with limits.local_tokens(SUBJECT, ENDPOINT, share=10_000) as tokens:
            began = time.monotonic()
            await spend_until(tokens, lambda: tokens.held == 10_000)
            took = time.monotonic() - began
            (old,) = await peer.asked("ReturnTokens")

        assert 1.0 < took
        assert "share-1" == old.token
        assert 10_000 / 2 < old.unused < 10_000
        assert 2 == len(peer.requests[RESERVE])


class TestClosing:
    async def test_gives_back_what_was_not_spent(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Once; closing again changes nothing."""
        granting(peer)
        async with limits.local_tokens(SUBJECT, ENDPOINT, share=10) as tokens:
            await tokens.spend(4)
        await tokens.close()

        assert {"share-1": 6} == returned(peer)
        assert 1 == len(peer.requests["ReturnTokens"])

    async def test_gives_back_what_is_on_its_way(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """It was reserved and would be missing to others."""
        arrived = peer.holding(RESERVE, share(10, "late"))
        spending = asyncio.create_task(tokens.spend())
        await peer.asked(RESERVE)
        spending.cancel()
        closing = asyncio.create_task(tokens.close())
        arrived.set()
        await closing

        assert {"late": 10} == returned(peer)

    async def test_of_the_client_closes_its_spenders(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Nobody else may know of them."""
        granting(peer)
        tokens = limits.local_tokens(SUBJECT, ENDPOINT, share=10)
        await tokens.spend()
        await limits.close()

        assert {"share-1": 9} == returned(peer)

    async def test_of_many_spenders_takes_no_longer_than_of_one(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """All give back at once: a service that does not answer is waited for once."""
        granting(peer)
        for number in range(5):
            await limits.local_tokens(f"user:{number}", ENDPOINT, share=10).spend()
        taken_back = peer.holding("ReturnTokens", pb.ReturnTokensResponse(returned=9))
        closing = asyncio.create_task(limits.close())
        async with asyncio.timeout(RETURN_SECONDS):  # for so long the first one waits
            requests = await peer.asked("ReturnTokens", 5)
        taken_back.set()
        await closing

        assert {f"share-{number}" for number in range(1, 6)} == {each.token for each in requests}

    async def test_of_the_facade_does_so_before_it_closes_the_connection(
        self, peer: ScriptedLimits
    ) -> None:
        """Afterwards nothing could be given back."""
        granting(peer)
        async with Mainstay(ratelimit=peer.address, tenant="acme") as mainstay:
            await mainstay.ratelimit.local_tokens(SUBJECT, ENDPOINT, share=10).spend()

        assert {"share-1": 9} == returned(peer)

    async def test_ends_spending(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """Also for those who wait."""
        arrived = peer.holding(RESERVE, pb.ReserveTokensResponse(decision=denied(30)))
        tokens = limits.local_tokens(SUBJECT, ENDPOINT, share=10)
        waiting = [asyncio.create_task(tokens.spend()) for _ in range(2)]
        await peer.asked(RESERVE)
        closing = asyncio.create_task(tokens.close())
        arrived.set()
        await closing
        first, second = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(PreconditionError, match="make others to spend more"):
            await tokens.spend()

        assert isinstance(second, PreconditionError)
        assert not isinstance(first, BaseException)

    async def test_is_not_held_up_by_a_service_that_is_gone(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """What is not returned leaves the window by itself."""
        granting(peer)
        peer.answer("ReturnTokens", RateLimitStoreError("gone"))
        async with limits.local_tokens(SUBJECT, ENDPOINT, share=10) as tokens:
            await tokens.spend()

        assert 1 <= len(peer.requests["ReturnTokens"])


class TestCancellation:
    async def test_leaves_the_share_to_others(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """It was on its way, and counts as consumed."""
        arrived = peer.holding(RESERVE, share(10))
        spending = asyncio.create_task(tokens.spend())
        await peer.asked(RESERVE)
        spending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spending
        arrived.set()
        decision = await tokens.spend()

        assert decision.allowed
        assert (1, 9) == (len(peer.requests[RESERVE]), tokens.held)


class TestUnlimited:
    async def test_is_spent_freely(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """Until it is time to ask again; nothing needs to come back."""
        peer.answer(RESERVE, pb.ReserveTokensResponse(decision=allowed()))
        ttl = timedelta(seconds=30)
        async with limits.local_tokens(SUBJECT, ENDPOINT, share=10, ttl=ttl) as tokens:
            decisions = [await tokens.spend(1_000_000) for _ in range(100)]

        assert all(each.allowed for each in decisions)
        assert 1 == len(peer.requests[RESERVE])
        assert [] == peer.requests["ReturnTokens"]


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "checked"),
        [
            # What the service has admitted already is not asked for again.
            pytest.param(pb.ReserveTokensResponse(decision=degraded()), [2, 3], id="degraded"),
            pytest.param(RateLimitStoreError("gone"), [1, 2, 3], id="no store"),
        ],
    )
    async def test_without_counters_the_service_decides_each_act(
        self, peer: ScriptedLimits, tokens: LocalTokens, answer: Any, checked: list[int]
    ) -> None:
        """By the rule's failure mode; nothing is reserved meanwhile."""
        peer.answer(RESERVE, answer)
        peer.answer("Check", pb.CheckResponse(decision=degraded()))
        decisions = [await tokens.spend(cost) for cost in (1, 2, 3)]

        assert [True] * 3 == [each.degraded for each in decisions]
        assert checked == [asked.cost for asked in peer.requests["Check"]]
        assert 1 == len(peer.requests[RESERVE])

    async def test_with_counters_again_shares_are_spent_again(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """A check that is not degraded tells."""
        peer.answer(RESERVE, RateLimitStoreError("gone"), share(10))
        degraded_one = pb.CheckResponse(decision=degraded())
        peer.answer("Check", degraded_one, pb.CheckResponse(decision=allowed()))
        decisions = [await tokens.spend() for _ in range(5)]

        assert [True, False, False, False, False] == [each.degraded for each in decisions]
        assert (2, 2) == (len(peer.requests["Check"]), len(peer.requests[RESERVE]))
        assert 7 == tokens.held

    async def test_without_a_service_everybody_is_told(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """By one call: those in line do not each wait for the same answer."""
        peer.answer(RESERVE, UnavailableError("nobody there"))
        told = await asyncio.gather(*(tokens.spend() for _ in range(20)), return_exceptions=True)

        assert [UnavailableError] * 20 == [type(each) for each in told]
        assert 1 == len(peer.requests[RESERVE])

    async def test_what_is_held_is_spent_all_the_same(
        self, peer: ScriptedLimits, tokens: LocalTokens
    ) -> None:
        """A service that is away for a moment is not noticed, and is asked once."""
        peer.answer(RESERVE, share(10), UnavailableError("nobody there"))
        decisions = [await tokens.spend(6)]
        await peer.asked(RESERVE, 2)
        decisions += [await tokens.spend() for _ in range(4)]

        assert [True] * 5 == [each.allowed for each in decisions]
        assert 2 == len(peer.requests[RESERVE])

    async def test_the_service_is_found_again(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """A moment later."""
        peer.answer(RESERVE, UnavailableError("nobody there"), share(10))
        async with limits.local_tokens(SUBJECT, ENDPOINT, share=10) as tokens:
            with pytest.raises(UnavailableError, match="nobody there"):
                await tokens.spend()
            with pytest.raises(UnavailableError, match="could not be asked a moment ago") as told:
                await tokens.spend()
            await asyncio.sleep(told.value.retry_after or 0)
            decision = await tokens.spend()

        assert decision.allowed

    async def test_nobody_listens(self) -> None:
        """The error is the one that a check would raise."""
        async with (
            Channel("127.0.0.1:1", tenant="acme") as channel,
            RateLimitClient(channel) as limits,
        ):
            with pytest.raises(UnavailableError):
                await limits.local_tokens(SUBJECT, ENDPOINT, share=5).spend()
