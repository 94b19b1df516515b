"""What the client sends and understands, against a service that does as it is told."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.message import Message

from mainstay.errors import ConflictError, MainstayError, UnavailableError, ValidationError
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
from tests.integration.sdk_ratelimit.scripted_limits import (
    ScriptedLimits,
    allowed,
    denied,
    lasting,
    lease,
    share,
)

Call = Callable[[RateLimitClient], Awaitable[Any]]

WHEN = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
DECIDED: dict[str, Any] = {"decision": allowed()}


async def every(listing: Any) -> list[Any]:
    return [each async for each in listing]


def call(name: str, *arguments: Any, **named: Any) -> Call:
    async def make(limits: RateLimitClient) -> Any:
        return await getattr(limits, name)(*arguments, **named)

    return make


def listing(name: str, **named: Any) -> Call:
    async def read(limits: RateLimitClient) -> Any:
        return await every(getattr(limits, name)(**named))

    return read


AI = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}
# Each method of the client, the method of the service behind it, an answer, and whether it is safe
# to repeat.
METHODS = [
    (call("check", "s", "e"), "Check", pb.CheckResponse(**DECIDED), False),
    (call("check_many", [Act(subject="s", endpoint="e")]), "CheckBatch", pb.CheckBatchResponse(),
     False),
    (call("peek", "s", "e"), "Peek", pb.PeekResponse(**DECIDED), True),
    (call("enforce", "s", "e"), "Enforce", pb.EnforceResponse(**DECIDED), False),
    (call("refund", "s", "e"), "Refund", pb.RefundResponse(), True),
    (call("reset", "s", rule="r"), "Reset", pb.ResetResponse(), True),
    (call("list_limits"), "ListLimits", pb.ListLimitsResponse(), True),
    (call("explain", "s", "e"), "Explain", pb.ExplainResponse(), True),
    (call("assign_plan", "s", "pro"), "AssignPlan", pb.AssignPlanResponse(), True),
    (call("get_plan", "s"), "GetPlan", pb.GetPlanResponse(), True),
    (call("check_feature", "s", "f"), "CheckFeature", pb.CheckFeatureResponse(), True),
    (call("put_override", "s", "r", "5/min", expire_time=WHEN, reason="x"), "PutOverride",
     pb.PutOverrideResponse(), True),
    (call("put_override", "s", "r", "5/min", expire_time=WHEN, reason="x", etag="1"),
     "PutOverride", pb.PutOverrideResponse(), False),
    (listing("overrides"), "ListOverrides", pb.ListOverridesResponse(), True),
    (call("delete_override", "s", "r"), "DeleteOverride", pb.DeleteOverrideResponse(), True),
    (call("put_policy", "version: 1", reason="x"), "PutPolicy", pb.PutPolicyResponse(), False),
    (call("validate_policy", "version: 1"), "PutPolicy", pb.PutPolicyResponse(), True),
    (call("preview_policy", "version: 1"), "PreviewPolicy", pb.PreviewPolicyResponse(), True),
    (call("get_policy"), "GetPolicy", pb.GetPolicyResponse(), True),
    (listing("policy_versions"), "ListPolicyVersions", pb.ListPolicyVersionsResponse(), True),
    (call("rollback_policy", 1, reason="x"), "RollbackPolicy", pb.RollbackPolicyResponse(), False),
    (call("acquire_lease", "s", "e"), "AcquireLease", pb.AcquireLeaseResponse(**DECIDED), True),
    (call("renew_lease", "t"), "RenewLease", pb.RenewLeaseResponse(lease=lease()), True),
    (call("release_lease", "t"), "ReleaseLease", pb.ReleaseLeaseResponse(), True),
    (call("reserve_tokens", "s", "e", 5), "ReserveTokens", share(5), False),
    (call("return_tokens", "t", 0), "ReturnTokens", pb.ReturnTokensResponse(), True),
    (call("reserve_ai_usage", "s", max_output_tokens=1, **AI), "ReserveAiUsage",
     pb.ReserveAiUsageResponse(**DECIDED), False),
    (call("record_ai_usage", "s", output_tokens=1, **AI), "RecordAiUsage",
     pb.RecordAiUsageResponse(), True),
    (call("summarize_ai_usage"), "SummarizeAiUsage", pb.SummarizeAiUsageResponse(), True),
    (listing("violations"), "ListViolations", pb.ListViolationsResponse(), True),
    (call("analytics"), "GetAnalytics", pb.GetAnalyticsResponse(), True),
]  # fmt: skip


class TestEveryMethod:
    def test_is_there(self) -> None:
        """The client covers the contract."""
        contract = pb.DESCRIPTOR.services_by_name["RateLimitService"].methods

        assert {each.name for each in contract} == {method for _, method, _, _ in METHODS}

    @pytest.mark.parametrize(("make", "method", "answer", "repeats"), METHODS)
    async def test_is_repeated_only_where_that_is_safe(
        self,
        peer: ScriptedLimits,
        limits: RateLimitClient,
        make: Call,
        method: str,
        answer: Message,
        repeats: bool,
    ) -> None:
        """What would count twice is not; what is repeated is the same request."""
        peer.answer(method, UnavailableError("a moment"), answer)
        failed: MainstayError | None = None
        try:
            await make(limits)
        except UnavailableError as error:
            failed = error
        asked = peer.requests[method]

        assert repeats == (failed is None)
        assert [asked[0]] * (2 if repeats else 1) == asked


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


class TestMistakes:
    @pytest.mark.parametrize("cost", [-1, 0, 1_000_001, 2**32])
    async def test_a_cost_is_named_with_its_act(self, limits: RateLimitClient, cost: int) -> None:
        """Before anything is sent: the message has no room for some of them."""
        acts = [Act(subject="s", endpoint="e"), Act(subject="s", endpoint="e", cost=cost)]
        with pytest.raises(ValidationError) as many:
            await limits.check_many(acts)
        with pytest.raises(ValidationError) as together:
            await limits.check("s", "e", also=acts)

        assert ["acts[1].cost"] == list(many.value.fields)
        assert ["also[1].cost"] == list(together.value.fields)

    @pytest.mark.parametrize(
        "target", [{}, {"rule": "r", "endpoint": "e"}, {"everything": True, "rule": "r"}]
    )
    async def test_a_reset_has_one_target(
        self, limits: RateLimitClient, target: dict[str, Any]
    ) -> None:
        """None and several are refused with all there are."""
        with pytest.raises(ValidationError, match="give one of endpoint, rule and everything"):
            await limits.reset("user:42", **target)

    @pytest.mark.parametrize(
        ("make", "field"),
        [
            (call("check", 42, "e"), "subject"),
            (call("peek", "s", ["e"]), "endpoint"),
            (call("enforce", "s", "e", plan=1.5), "plan"),
            (call("check", "s", "e", cost="5"), "cost"),
            (call("check", "s", "e", cost=1.5), "cost"),
            (call("check", "s", "e", also=[Act(subject=42, endpoint="e")]), "also[0].subject"),  # type: ignore[arg-type]
            (call("explain", 42, "e"), "subject"),
            (call("assign_plan", "s", 42), "plan"),
            (call("put_override", 42, "r", "5/min", expire_time=WHEN, reason="x"), "subject"),
            (call("put_policy", "version: 1", reason="x", expected_version="1"),
             "expected_version"),
            (call("acquire_lease", 42, "e"), "subject"),
            (call("reserve_tokens", 42, "e", 5), "subject"),
            (call("reserve_ai_usage", 42, max_output_tokens=1, **AI), "subject"),
            (listing("violations", subject=42), "subject"),
        ],
    )  # fmt: skip
    async def test_a_value_of_another_type_is_named(
        self, limits: RateLimitClient, make: Call, field: str
    ) -> None:
        """Who checks no types finds out here, before anything is sent."""
        with pytest.raises(ValidationError, match="give ") as caught:
            await make(limits)

        assert [field] == list(caught.value.fields)
        assert f"the {field} is " in caught.value.message

    async def test_a_moment_has_a_time_zone(self, limits: RateLimitClient) -> None:
        """Nobody knows what it means otherwise."""
        with pytest.raises(ValidationError, match="has no time zone"):
            await limits.refund("s", "e", admit_time=WHEN.replace(tzinfo=None))

    async def test_a_length_of_time_is_one(self, limits: RateLimitClient) -> None:
        """A number could be seconds or milliseconds."""
        with pytest.raises(TypeError, match=r"give a timedelta\(seconds=...\)"):
            await limits.acquire_lease("s", "e", ttl=60)  # type: ignore[arg-type]

    async def test_a_conflict_is_told(self, peer: ScriptedLimits, limits: RateLimitClient) -> None:
        """As the class that the service raised."""
        peer.answer("PutPolicy", ConflictError("changed", reason="ETAG_MISMATCH"))
        with pytest.raises(ConflictError, match="changed"):
            await limits.put_policy("version: 1", reason="x", expected_version=3)


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


class TestRefunds:
    async def test_name_the_moment_and_the_request(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """In UTC, whatever zone it was given in; the request id is the caller's when given."""
        peer.answer("Refund", pb.RefundResponse(refunded=2, repeated_request=True))
        abroad = WHEN.astimezone(timezone(timedelta(hours=-7)))
        refunded = await limits.refund("s", "e", cost=3, admit_time=abroad, request_id="mine")
        await limits.refund("s", "e")
        await limits.refund("s", "e")
        asked = peer.requests["Refund"]

        assert (2, True) == (refunded.amount, refunded.repeated)
        assert (WHEN, "mine", 3) == (
            asked[0].admit_time.ToDatetime(tzinfo=UTC),
            asked[0].request_id,
            asked[0].cost,
        )
        assert not asked[1].HasField("admit_time")
        assert asked[1].request_id != asked[2].request_id


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
