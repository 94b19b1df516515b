"""The methods of the client that show and change limits, against the real service."""

from datetime import UTC, datetime, timedelta

import pytest

from mainstay.context import request
from mainstay.errors import ConflictError, NotFoundError, ValidationError
from mainstay.ratelimit import (
    Act,
    Algorithm,
    FailureMode,
    LimitSource,
    Measure,
    PlanSource,
    RateLimitClient,
    Violation,
)
from tests.integration.sdk_ratelimit.service.recorded_calls import CHAT, SUBJECT, eventually

SOON = timedelta(hours=1)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Keep what is to be kept."""
    return postgres_url


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
