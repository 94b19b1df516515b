"""What the client sends, and what it refuses to, against a service that does as it is told."""

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.message import Message

from mainstay.errors import ConflictError, MainstayError, UnavailableError, ValidationError
from mainstay.ratelimit import Act, RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.limits_calls import AI, WHEN, Call, call, listing
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, allowed, lease, share

DECIDED: dict[str, Any] = {"decision": allowed()}

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
