"""What was reserved and not spent comes back, whatever ended the spending."""

import asyncio
import time

import pytest

from mainstay import Mainstay
from mainstay.errors import PreconditionError, RateLimitStoreError
from mainstay.ratelimit import LocalTokens, RateLimitClient
from mainstay.ratelimit.token_source import RETURN_SECONDS
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.local_tokens.granted_shares import (
    ENDPOINT,
    RESERVE,
    SUBJECT,
    granting,
    returned,
    spend_until,
)
from tests.integration.sdk_ratelimit.scripted_limits import PATIENCE, ScriptedLimits, denied, share


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
