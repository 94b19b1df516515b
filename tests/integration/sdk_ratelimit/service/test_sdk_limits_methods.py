"""Every method of the client against the real service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from mainstay.context import request
from mainstay.errors import (
    AiQuotaError,
    ConflictError,
    NotFoundError,
    PreconditionError,
    RateLimitError,
    ValidationError,
)
from mainstay.ratelimit import (
    Act,
    AiDimension,
    Algorithm,
    DenialReason,
    FailureMode,
    LimitSource,
    Measure,
    PlanSource,
    RateLimitClient,
    Violation,
)

SUBJECT, CHAT = "user:42", "/api/chat"
SOON = timedelta(hours=1)
PATIENCE = 20.0

T = TypeVar("T")


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Keep what is to be kept."""
    return postgres_url


async def eventually(ask: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> T:
    """Ask until what is recorded in the background is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            told = await ask()
            if enough(told):
                return told
            await asyncio.sleep(0.1)


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


class TestRules:
    async def test_are_listed(self, limits: RateLimitClient) -> None:
        """As the policy has them, with its plans."""
        found = await limits.list_limits()
        by_name = {rule.name: rule for rule in found.rules}
        chat = by_name["chat"]

        assert {"chat", "events", "brief", "free", "rest", "transcoding", "ai_tokens"} == set(
            by_name
        )
        assert (Algorithm.SLIDING_WINDOW, Measure.COST, FailureMode.LOCAL) == (
            chat.algorithm,
            chat.measure,
            chat.on_failure,
        )
        assert {"": ("5/min",), "basic": ("5/min",), "pro": ("20/min",)} == {
            each.plan: each.limits for each in chat.plan_limits
        }
        assert Measure.TOKENS is by_name["ai_tokens"].measure
        assert [("basic", ("chat",)), ("pro", ("chat", "export"))] == [
            (plan.name, plan.features) for plan in found.plans
        ]

    async def test_are_explained(self, limits: RateLimitClient) -> None:
        """What applies, why, and what is left."""
        await limits.check(SUBJECT, CHAT, cost=2)
        found = await limits.explain(SUBJECT, CHAT)
        chat = found.rules[0]

        assert ("", PlanSource.NONE, False) == (found.plan, found.plan_source, found.degraded)
        assert ("chat", CHAT, ("*",), LimitSource.DEFAULT) == (
            chat.rule,
            chat.matched,
            chat.also_matching,
            chat.limit_source,
        )
        assert [(5, 3)] == [(each.limit, each.remaining) for each in chat.limits]
        assert "ai_tokens" in [each.rule for each in found.rules]


class TestPlans:
    async def test_are_assigned_and_looked_up(self, limits: RateLimitClient) -> None:
        """And decide about limits and features."""
        never = await limits.get_plan(SUBJECT)
        assigned = await limits.assign_plan(SUBJECT, "pro", reason="paid")
        found = await limits.get_plan(SUBJECT)
        told = await limits.check(SUBJECT, CHAT)

        assert ("", None, ()) == (never.plan, never.assign_time, never.features)
        assert ("pro", SUBJECT) == (assigned.plan, assigned.subject)
        assert ("pro", ("chat", "export")) == (found.plan, found.features)
        assert ("pro", 20) == (told.plan, told.limit)

    async def test_say_which_would_include_a_feature(self, limits: RateLimitClient) -> None:
        """The smallest that is larger than the subject's."""
        lacking = await limits.check_feature(SUBJECT, "export", plan="basic")
        including = await limits.check_feature(SUBJECT, "export", plan="pro")
        with pytest.raises(NotFoundError) as caught:
            await limits.check_feature(SUBJECT, "teleport")

        assert (False, "basic", PlanSource.CALL, "pro") == (
            lacking.included,
            lacking.plan,
            lacking.plan_source,
            lacking.upgrade_plan,
        )
        assert (True, "", ("pro",)) == (
            including.included,
            including.upgrade_plan,
            including.plans,
        )
        assert "FEATURE_NOT_FOUND" == caught.value.reason


class TestOverrides:
    async def test_live_until_they_are_deleted(self, limits: RateLimitClient) -> None:
        """Put, listed, replaced by who has seen them, and ended."""
        until = datetime.now(UTC) + SOON
        put = await limits.put_override(
            SUBJECT, "chat", "7/min", expire_time=until, reason="a trade fair"
        )
        replaced = await limits.put_override(
            SUBJECT, "chat", "8/min", expire_time=until, reason="a larger one", etag=put.etag
        )
        with pytest.raises(ConflictError):
            await limits.put_override(
                SUBJECT, "chat", "9/min", expire_time=until, reason="late", etag=put.etag
            )
        listed = [each async for each in limits.overrides(subject=SUBJECT)]
        deleted = [await limits.delete_override(SUBJECT, "chat") for _ in range(2)]

        assert ("7/min", "chat", until) == (put.limits, put.rule, put.expire_time)
        assert [replaced] == listed
        assert [True, False] == deleted
        assert [] == [each async for each in limits.overrides()]


class TestPolicies:
    async def test_have_versions(self, limits: RateLimitClient) -> None:
        """Put, read, gone back from; the newest first."""
        before = await limits.get_policy()
        assert before.version is not None
        text = before.text.replace("default: 5/min", "default: 6/min")
        put = await limits.put_policy(
            text, reason="more chat", expected_version=before.version.version
        )
        back = await limits.rollback_policy(before.version.version, reason="too much chat")
        versions = [each async for each in limits.policy_versions()]
        now = await limits.get_policy()

        assert (text, "more chat") == ((await limits.get_policy(put.version)).text, put.reason)
        assert before.text == now.text
        assert back == now.version == versions[0]
        assert sorted((each.version for each in versions), reverse=True) == [
            each.version for each in versions
        ]

    async def test_that_are_wrong_are_refused_with_every_mistake(
        self, limits: RateLimitClient
    ) -> None:
        """Whether they are to be put or only looked at."""
        wrong = "version: 1\nlimits:\n  - name: a\n    endpoints: ['*']\n    default: 5/fortnight\n"
        for refuse in (
            lambda: limits.put_policy(wrong, reason="x"),
            lambda: limits.validate_policy(wrong),
            lambda: limits.preview_policy(wrong),
        ):
            with pytest.raises(ValidationError, match="5/fortnight") as caught:
                await refuse()
            assert "POLICY_REFUSED" == caught.value.reason

    async def test_that_are_right_are_only_validated(self, limits: RateLimitClient) -> None:
        """Nothing changes."""
        before = await limits.get_policy()
        await limits.validate_policy(before.text.replace("5/min", "6/min"))

        assert before == await limits.get_policy()

    async def test_can_be_tried_on_recent_traffic(self, limits: RateLimitClient) -> None:
        """Which is recorded within a second or two."""
        text = (await limits.get_policy()).text.replace("default: 5/min", "default: 1/min")
        for _ in range(3):
            await limits.check(SUBJECT, CHAT)
        found = await eventually(lambda: limits.preview_policy(text), lambda told: told.replayed)
        chat = next(each for each in found.rules if each.rule == "chat")

        assert (3, 0, 2) == (chat.checks, chat.denied_before, chat.denied_after)
        assert [(SUBJECT, 2)] == [(each.subject, each.denied_after) for each in found.subjects]


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


class TestEvidence:
    async def test_denials_are_listed_and_counted(self, limits: RateLimitClient) -> None:
        """With the request that was denied."""
        with request(request_id="the-denied-one"):
            await limits.check_many([Act(subject=SUBJECT, endpoint=CHAT) for _ in range(7)])

        async def listed() -> list[Violation]:
            return [each async for each in limits.violations(rule="chat")]

        found = await eventually(listed, bool)
        figures = await eventually(
            lambda: limits.analytics(top=5), lambda told: told.total.denied == 2
        )

        assert [(SUBJECT, 2, "5/min", "the-denied-one")] == [
            (each.subject, each.count, each.limit, each.request_id) for each in found
        ]
        assert (5, 2) == (figures.total.allowed, figures.total.denied)
        assert [("chat", "")] == [(group.rule, group.plan) for group in figures.groups]
        assert [(SUBJECT, 2)] == [(each.subject, each.denied) for each in figures.top_subjects]
