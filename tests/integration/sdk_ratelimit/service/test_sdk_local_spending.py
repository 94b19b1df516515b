"""Limits that are spent locally by several spenders, on the real service."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from cli.embedded.redis import RedisServer
from mainstay.ratelimit import FailureMode, LocalTokens, RateLimitClient
from tests.integration.sdk_ratelimit.service.conftest import Connect

SUBJECT = "user:42"
EVENTS, EVENTS_LIMIT = "/api/events", 1_000
BRIEF, BRIEF_LIMIT, BRIEF_SECONDS = "brief", 60, 2.0
SPENDERS, SHARE = 3, 10
MICROSECONDS = 1e6


async def spend_all(tokens: LocalTokens, until: float, spent: list[float]) -> None:
    """Spend as fast as is allowed, and note when."""
    while time.monotonic() < until:
        if (await tokens.spend()).allowed:
            spent.append(time.monotonic())
        await asyncio.sleep(0.001)


def most_in_a_window(times: Sequence[float], seconds: float) -> int:
    """Return how many of the times lie in the fullest window of a length."""
    ordered, first, most = sorted(times), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class TestBound:
    async def test_no_window_sees_more_than_the_limit_and_what_was_held(
        self, connect: Connect
    ) -> None:
        """Spenders of several processes that spend all they can, for several windows."""
        spent: list[float] = []
        until = time.monotonic() + 3 * BRIEF_SECONDS
        spenders = [connect().local_tokens(SUBJECT, BRIEF, share=SHARE) for _ in range(SPENDERS)]
        await asyncio.gather(*(spend_all(each, until, spent) for each in spenders))
        fullest = most_in_a_window(spent, BRIEF_SECONDS)

        assert fullest <= BRIEF_LIMIT + SPENDERS * SHARE
        # And the limit is made use of, in each of the windows.
        assert len(spent) >= 2 * BRIEF_LIMIT

    async def test_what_checks_consumed_is_not_there_for_spenders(
        self, limits: RateLimitClient
    ) -> None:
        """They share one limit: together exactly that much, once shares are returned."""
        await limits.check(SUBJECT, EVENTS, cost=EVENTS_LIMIT - 50)
        async with limits.local_tokens(SUBJECT, EVENTS, share=40) as tokens:
            allowed = [(await tokens.spend()).allowed for _ in range(80)]
        left = await limits.peek(SUBJECT, EVENTS)

        assert (50, 0) == (allowed.count(True), left.remaining)


class TestReturns:
    async def test_make_the_books_exact(self, limits: RateLimitClient) -> None:
        """Consumed is what was spent, and nothing more."""
        async with limits.local_tokens(SUBJECT, EVENTS, share=100) as tokens:
            for _ in range(37):
                await tokens.spend()
            during = await limits.peek(SUBJECT, EVENTS)
        after = await limits.peek(SUBJECT, EVENTS)

        assert during.remaining == EVENTS_LIMIT - 100
        assert after.remaining == EVENTS_LIMIT - 37

    async def test_by_many_spenders_too(self, connect: Connect, limits: RateLimitClient) -> None:
        """Refills and all."""
        clients = [connect() for _ in range(3)]

        async def spend(client: RateLimitClient) -> int:
            async with client.local_tokens(SUBJECT, EVENTS, share=20) as tokens:
                for _ in range(150):
                    assert (await tokens.spend()).allowed
                    await asyncio.sleep(0)
            return 150

        spent = sum(await asyncio.gather(*(spend(client) for client in clients)))
        left = await limits.peek(SUBJECT, EVENTS)

        assert EVENTS_LIMIT - spent == left.remaining


class TestSpending:
    async def test_is_denied_with_the_time_to_wait(self, limits: RateLimitClient) -> None:
        """As a check would be."""
        async with limits.local_tokens(SUBJECT, "/api/chat", share=100) as tokens:
            decisions = [await tokens.spend() for _ in range(6)]
        denied = decisions[-1]

        assert [True] * 5 + [False] == [each.allowed for each in decisions]
        assert ("chat", 5) == (denied.rule, denied.limit)
        assert denied.retry_after is not None
        assert "retry-after" in denied.headers

    async def test_of_the_unlimited_is_free(self, limits: RateLimitClient) -> None:
        """There is nothing to reserve."""
        async with limits.local_tokens(SUBJECT, "free", share=1) as tokens:
            decisions = [await tokens.spend(1_000) for _ in range(100)]

        assert all(each.allowed and each.limit is None for each in decisions)

    async def test_from_a_share_takes_microseconds(self, limits: RateLimitClient) -> None:
        """The best of some rounds: others use this machine too."""
        rounds, spends = 5, 80
        best = float("inf")
        async with limits.local_tokens(SUBJECT, EVENTS, share=EVENTS_LIMIT) as tokens:
            await tokens.spend()
            for _ in range(rounds):
                began = time.perf_counter()
                for _ in range(spends):
                    await tokens.spend()
                best = min(best, (time.perf_counter() - began) / spends)

        assert best * MICROSECONDS < 5


class TestWithoutRedis:
    @pytest.fixture
    def redis_url(self, private_redis: RedisServer) -> str:
        """Use one that may be killed."""
        return private_redis.url

    async def test_what_is_held_is_spent_and_then_each_act_is_asked_for(
        self, limits: RateLimitClient, private_redis: RedisServer
    ) -> None:
        """The rule's failure mode decides, and nobody is kept waiting."""
        async with limits.local_tokens(SUBJECT, EVENTS, share=10) as tokens:
            await tokens.spend()
            await private_redis.kill()
            decisions = [await tokens.spend() for _ in range(30)]

        assert [True] * 30 == [each.allowed for each in decisions]
        assert not decisions[0].degraded
        assert decisions[-1].degraded
        assert FailureMode.LOCAL is decisions[-1].failure_mode
