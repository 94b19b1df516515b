"""Spending while the counters or the whole service are away."""

import asyncio
from typing import Any

import pytest

from mainstay.channel import Channel
from mainstay.errors import RateLimitStoreError, UnavailableError
from mainstay.ratelimit import LocalTokens, RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.local_tokens.granted_shares import ENDPOINT, RESERVE, SUBJECT
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, allowed, degraded, share


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
