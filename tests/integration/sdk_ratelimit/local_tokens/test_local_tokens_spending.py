"""Shares of a limit that are spent in this process, and what is denied of them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mainstay.context import request
from mainstay.errors import ValidationError
from mainstay.ratelimit import LocalTokens, RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.local_tokens.granted_shares import (
    ENDPOINT,
    RESERVE,
    SUBJECT,
    granting,
    spend_until,
)
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, allowed, denied, share


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
