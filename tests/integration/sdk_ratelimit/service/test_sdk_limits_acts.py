"""The methods of the client that ask and consume, against the real service."""

from datetime import timedelta
from typing import Any

import pytest

from mainstay.errors import AiQuotaError, NotFoundError, PreconditionError, RateLimitError
from mainstay.ratelimit import Act, AiDimension, Algorithm, DenialReason, RateLimitClient
from tests.integration.sdk_ratelimit.service.recorded_calls import CHAT, SUBJECT, eventually


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Keep what is to be kept."""
    return postgres_url


class TestChecks:
    async def test_decisions_say_when_and_by_what(self, limits: RateLimitClient) -> None:
        """With the version of the policy and the store's clock."""
        told = await limits.check(SUBJECT, CHAT, cost=5)
        denied = await limits.check(SUBJECT, CHAT)

        assert (True, 5, 0, None, False) == (
            told.allowed,
            told.limit,
            told.remaining,
            told.reason,
            told.degraded,
        )
        assert told.decide_time is not None
        assert timedelta(0) <= denied.decide_time - told.decide_time < timedelta(minutes=1)  # type: ignore[operator]
        assert (False, DenialReason.LIMIT) == (denied.allowed, denied.reason)
        assert "retry-after" in denied.headers

    async def test_of_several_limits_tell_of_each(self, limits: RateLimitClient) -> None:
        """The one that decides is the fuller one."""
        told = await limits.check(SUBJECT, "other", cost=4)

        assert (10, 6) == (told.limit, told.remaining)
        assert [("rest", 10, 6), ("rest", 100, 96)] == [
            (each.rule, each.limit, each.remaining) for each in told.limits
        ]
        assert [Algorithm.SLIDING_WINDOW] * 2 == [each.algorithm for each in told.limits]

    async def test_together_go_ahead_or_not_at_all(self, limits: RateLimitClient) -> None:
        """Nothing is consumed of the one that had room."""
        await limits.check("team:1", CHAT, cost=5)
        told = await limits.check(SUBJECT, CHAT, also=[Act(subject="team:1", endpoint=CHAT)])
        left = await limits.peek(SUBJECT, CHAT)

        assert not told.allowed
        assert 5 == left.remaining

    async def test_many_are_decided_each_by_itself(self, limits: RateLimitClient) -> None:
        """In their order, without headers unless they are wanted."""
        acts = [Act(subject=SUBJECT, endpoint=CHAT, cost=cost) for cost in (3, 3, 2)]
        told = await limits.check_many(acts)
        with_headers = await limits.check_many(acts[:1], headers=True)

        assert [True, False, True] == [each.allowed for each in told]
        assert {} == told[0].headers
        assert "5" == with_headers[0].headers["x-ratelimit-limit"]

    async def test_enforced_ones_raise(self, limits: RateLimitClient) -> None:
        """With what a web handler needs to answer."""
        told = await limits.enforce(SUBJECT, CHAT, cost=5)
        with pytest.raises(RateLimitError) as caught:
            await limits.enforce(SUBJECT, CHAT)
        error = caught.value

        assert told.allowed
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 62
        assert ("chat", "5", "0") == (
            error.metadata["rule"],
            error.metadata["x-ratelimit-limit"],
            error.metadata["x-ratelimit-remaining"],
        )

    async def test_can_be_given_back(self, limits: RateLimitClient) -> None:
        """Once for a request id, and never more than was consumed."""
        told = await limits.check(SUBJECT, CHAT, cost=4)
        first, again = [
            await limits.refund(
                SUBJECT, CHAT, cost=3, admit_time=told.decide_time, request_id="refund-1"
            )
            for _ in range(2)
        ]
        more = await limits.refund(SUBJECT, CHAT, cost=100)

        assert (3, False, [4]) == (
            first.amount,
            first.repeated,
            [s.remaining for s in first.limits],
        )
        assert (0, True) == (again.amount, again.repeated)
        assert (1, [5]) == (more.amount, [s.remaining for s in more.limits])

    async def test_can_be_forgotten(self, limits: RateLimitClient) -> None:
        """By endpoint, by rule, or all of a subject."""
        await limits.check_many([Act(subject=SUBJECT, endpoint=each) for each in (CHAT, "x")])
        by_endpoint = await limits.reset(SUBJECT, endpoint=CHAT, reason="a complaint")
        everything = await limits.reset(SUBJECT, everything=True)
        nothing = await limits.reset(SUBJECT, rule="chat")

        assert (("chat",), ("rest",), ()) == (by_endpoint, everything, nothing)


class TestLeases:
    async def test_are_taken_kept_and_given_back(self, limits: RateLimitClient) -> None:
        """As the contract has them."""
        taken = await limits.acquire_lease(SUBJECT, "video_processing", request_id="once")
        again = await limits.acquire_lease(SUBJECT, "video_processing", request_id="once")
        assert taken.lease is not None
        renewed = await limits.renew_lease(taken.lease.token, ttl=timedelta(seconds=90))
        released = [await limits.release_lease(taken.lease.token) for _ in range(2)]
        with pytest.raises(PreconditionError) as caught:
            await limits.renew_lease(taken.lease.token)

        assert again.lease is not None
        assert taken.lease.token == again.lease.token == renewed.token
        assert timedelta(seconds=89) < renewed.ttl <= timedelta(seconds=90)
        assert [True, False] == released
        assert "LEASE_LOST" == caught.value.reason

    async def test_of_an_endpoint_without_a_rule(self, limits: RateLimitClient) -> None:
        """There is nothing to take a place of."""
        with pytest.raises(NotFoundError):
            await limits.acquire_lease(SUBJECT, "no_such_endpoint")


class TestReservations:
    async def test_are_taken_and_given_back(self, limits: RateLimitClient) -> None:
        """What is reserved is consumed until it comes back, once."""
        taken = await limits.reserve_tokens(SUBJECT, "/api/events", 100)
        assert taken.reservation is not None
        during = await limits.peek(SUBJECT, "/api/events")
        returned = [await limits.return_tokens(taken.reservation.token, 60) for _ in range(2)]
        after = await limits.peek(SUBJECT, "/api/events")

        assert 100 == taken.reservation.amount
        assert [60, 0] == returned
        assert (900, 960) == (during.remaining, after.remaining)

    async def test_are_granted_in_part(self, limits: RateLimitClient) -> None:
        """As much as there is, unless that is of no use."""
        await limits.check(SUBJECT, CHAT, cost=3)
        refused = await limits.reserve_tokens(SUBJECT, CHAT, 4, min_amount=3)
        taken = await limits.reserve_tokens(SUBJECT, CHAT, 4)

        assert (False, None) == (refused.decision.allowed, refused.reservation)
        assert taken.reservation is not None
        assert 2 == taken.reservation.amount


class TestAiUsage:
    async def test_is_asked_for_recorded_and_summed_up(self, limits: RateLimitClient) -> None:
        """What was estimated too much comes back to the budget."""
        model: dict[str, Any] = {"provider": "openai", "model": "gpt-4o"}
        held = await limits.reserve_ai_usage(
            SUBJECT, input_tokens=1_000, max_output_tokens=1_000, **model
        )
        recorded = await limits.record_ai_usage(
            SUBJECT,
            input_tokens=1_000,
            output_tokens=100,
            reservation=held.reservation,
            operation="chat",
            latency=timedelta(milliseconds=250),
            **model,
        )
        summed = await eventually(
            lambda: limits.summarize_ai_usage(group_by=[AiDimension.OPERATION]),
            lambda told: told.total.calls,
        )

        assert held.decision.allowed
        assert (12_500, 3_500) == (held.estimated_cost_micros, recorded.cost_micros)
        assert [8_900] == [each.remaining for each in recorded.budgets]
        assert [("chat",)] == [group.values for group in summed.groups]
        assert (1, 1_000, 100, 3_500, timedelta(milliseconds=250)) == (
            summed.total.calls,
            summed.total.input_tokens,
            summed.total.output_tokens,
            summed.total.cost_micros,
            summed.total.mean_latency,
        )

    async def test_of_a_block_is_settled_when_it_ends(self, limits: RateLimitClient) -> None:
        """And one beyond the budget does not run."""
        call: dict[str, Any] = {
            "provider": "openai",
            "model": "gpt-4o",
            "max_output_tokens": 1_000,
        }
        async with limits.ai_call(SUBJECT, input_tokens=8_000, **call) as made:
            made.used(input_tokens=8_000, output_tokens=500)
        with pytest.raises(AiQuotaError) as caught:
            async with limits.ai_call(SUBJECT, input_tokens=1_000, **call):
                pytest.fail("it is beyond the budget")

        assert made.recorded is not None
        assert [1_500] == [each.remaining for each in made.recorded.budgets]
        assert caught.value.retry_after is not None
