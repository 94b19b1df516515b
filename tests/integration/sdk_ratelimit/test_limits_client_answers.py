"""What the client understands, against a service that does as it is told."""

from typing import Any

from mainstay.ratelimit import (
    Act,
    Algorithm,
    Decision,
    DenialReason,
    FailureMode,
    LimitState,
    Measure,
    PlanSource,
    RateLimitClient,
)
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.limits_calls import WHEN, every
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, allowed, denied, lasting

DECIDED: dict[str, Any] = {"decision": allowed()}


class TestDecisions:
    async def test_say_all_that_the_service_said(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """To the microsecond."""
        state = pb.LimitState(
            limit=20,
            window=lasting(60.5),
            remaining=0,
            rule="chat",
            algorithm=pb.ALGORITHM_GCRA,
            measure=pb.MEASURE_TOKENS,
            shadow=True,
            retry_after=lasting(1.5),
            burst=40,
        )
        state.reset_time.FromDatetime(WHEN)
        message = denied(1.5, plan="pro", policy_version=7, limits=[state], degraded=True)
        message.limit.CopyFrom(state)
        message.failure_mode = pb.FAILURE_MODE_LOCAL
        message.headers.add(name="retry-after", value="2")
        message.decide_time.FromDatetime(WHEN)
        peer.answer("Check", pb.CheckResponse(decision=message))
        told = await limits.check("user:42", "/api/chat")

        assert told == Decision(
            allowed=False,
            rule="chat",
            plan="pro",
            limit=20,
            window=60.5,
            remaining=0,
            reset_time=WHEN,
            retry_after=1.5,
            headers={"retry-after": "2"},
            reason=DenialReason.LIMIT,
            failure_mode=FailureMode.LOCAL,
            limits=(
                LimitState(
                    rule="chat",
                    limit=20,
                    window=60.5,
                    remaining=0,
                    reset_time=WHEN,
                    algorithm=Algorithm.GCRA,
                    measure=Measure.TOKENS,
                    admits=False,
                    shadow=True,
                    retry_after=1.5,
                    burst=40,
                ),
            ),
            decide_time=WHEN,
            policy_version=7,
            shadow_denied_by=("chat",),
        )
        assert told.degraded

    async def test_tell_which_rules_in_shadow_would_have_denied(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Of one limit and of several, each rule once."""
        watching = pb.LimitState(rule="watching", shadow=True)
        content = pb.LimitState(rule="content", shadow=True, admits=True)
        denying = pb.LimitState(rule="denying")
        answers = (
            allowed(limit=content),
            allowed(limit=watching),
            allowed(limit=content, limits=[content, watching, denying, watching]),
        )
        peer.answer("Check", *(pb.CheckResponse(decision=each) for each in answers))
        told = [await limits.check("user:42", "/api/chat") for _ in answers]

        assert [(), ("watching",), ("watching",)] == [each.shadow_denied_by for each in told]
        assert [False, True, True] == [each.shadow_denied for each in told]

    async def test_of_a_newer_service_permit_nothing_new(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """An outcome, a reason or a mode that this package does not know."""
        message = pb.Decision(degraded=True)
        message.outcome, message.reason, message.failure_mode = 99, 99, 99  # type: ignore[assignment]
        peer.answer("Check", pb.CheckResponse(decision=message))
        told = await limits.check("user:42", "/api/chat")

        assert (False, DenialReason.UNKNOWN, FailureMode.UNKNOWN) == (
            told.allowed,
            told.reason,
            told.failure_mode,
        )

    async def test_of_several_acts_are_asked_for_together(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """As one request, of whatever method."""
        also = [Act(subject="team:1", endpoint="export", plan="pro", cost=3)]
        peer.answer("Check", pb.CheckResponse(**DECIDED))
        peer.answer("Peek", pb.PeekResponse(**DECIDED))
        peer.answer("Enforce", pb.EnforceResponse(**DECIDED))
        for method in (limits.check, limits.peek, limits.enforce):
            await method("user:42", "/api/chat", cost=2, also=also)
        expected = pb.Act(subject="team:1", endpoint="export", plan="pro", cost=3)

        for name in ("Check", "Peek", "Enforce"):
            (asked,) = peer.requests[name]
            assert ("user:42", 2, [expected]) == (asked.subject, asked.cost, list(asked.also))

    async def test_of_many_keep_their_order(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """One for each act; headers only on request."""
        answer = pb.CheckBatchResponse(decisions=[allowed(), denied(), allowed()])
        peer.answer("CheckBatch", answer)
        acts = [Act(subject=f"user:{number}", endpoint="e") for number in range(3)]
        told = await limits.check_many(acts, headers=True)
        (asked,) = peer.requests["CheckBatch"]

        assert [True, False, True] == [each.allowed for each in told]
        assert ["user:0", "user:1", "user:2"] == [act.subject for act in asked.acts]
        assert asked.headers


class TestPolicies:
    async def test_are_put_with_what_they_leave_without_effect(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Also when they are only validated."""
        version = pb.PolicyVersion(version=3)
        peer.answer("PutPolicy", pb.PutPolicyResponse(version=version, warnings=["no rule a"]))
        put = await limits.put_policy("version: 1", reason="x")
        warnings = await limits.validate_policy("version: 1")

        assert (3, ("no rule a",), ("no rule a",)) == (put.version, put.warnings, warnings)

    async def test_say_how_rules_count(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """With burst and calendar, and that a plan is gone."""
        rule = pb.Rule(name="r", burst=20, time_zone="Europe/Berlin")
        peer.answer("ListLimits", pb.ListLimitsResponse(rules=[rule]))
        peer.answer("Explain", pb.ExplainResponse(plan_source=pb.PLAN_SOURCE_REMOVED))
        (listed,) = (await limits.list_limits()).rules

        assert (20, "Europe/Berlin") == (listed.burst, listed.time_zone)
        assert PlanSource.REMOVED is (await limits.explain("s", "e")).plan_source


class TestPages:
    async def test_are_read_to_the_end(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """Each with the token of the one before."""
        tokens: list[str] = []

        async def page(asked: pb.ListOverridesRequest) -> pb.ListOverridesResponse:
            tokens.append(asked.page_token)
            number = len(tokens)
            return pb.ListOverridesResponse(
                overrides=[pb.Override(subject=f"user:{number}")],
                next_page_token=f"page-{number}" if number < 3 else "",
            )

        peer.on("ListOverrides", page)
        found = await every(limits.overrides(rule="chat"))

        assert ["user:1", "user:2", "user:3"] == [each.subject for each in found]
        assert ["", "page-1", "page-2"] == tokens
        assert {"chat"} == {asked.rule for asked in peer.requests["ListOverrides"]}

    async def test_are_read_only_as_they_are_wanted(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Who stops early costs nothing more."""
        answer = pb.ListViolationsResponse(
            violations=[pb.Violation(count=1)], next_page_token="more"
        )
        peer.answer("ListViolations", answer)
        async for violation in limits.violations(page_size=1):
            assert 1 == violation.count
            break

        assert [1] == [asked.page_size for asked in peer.requests["ListViolations"]]

    async def test_of_rules_are_put_together(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """A policy is read as a whole."""
        pages = [
            pb.ListLimitsResponse(rules=[pb.Rule(name="chat")], next_page_token="more"),
            pb.ListLimitsResponse(rules=[pb.Rule(name="auth")], policy_version=4),
        ]
        peer.answer("ListLimits", *pages)
        found = await limits.list_limits()

        assert ["chat", "auth"] == [rule.name for rule in found.rules]
        assert 4 == found.policy_version
