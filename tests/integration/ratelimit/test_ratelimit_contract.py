"""What the methods that decide promise beyond one check, over the wire."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mainstay import context
from mainstay.channel import Channel
from mainstay.errors import NotFoundError, RateLimitError, ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from tests.integration.ratelimit.conftest import ServeRateLimit

SUBJECT = "user:{42}:a"
POLICY = """
version: 1
plans: {basic: {}, pro: {}}
limits:
  - {name: chat, endpoints: [chat, /api/chat/*], default: 5/h, plans: {basic: 3/h, pro: unlimited}}
  - {name: upload, endpoints: [upload], default: 2/min 4/h}
  - {name: watched, endpoints: [watched], default: 1/h, shadow: true}
  - {name: api, endpoints: ["*"], default: 100/min, tenants: {globex: {default: 7/min}}}
concurrency:
  - {name: exports, endpoints: [/api/chat/*], default: 2}
budgets:
  - {name: ai_tokens, measure: tokens, default: 1000/d}
"""


@pytest.fixture
async def to_service(
    redis_url: str, serve_ratelimit: ServeRateLimit, tmp_path: Path
) -> AsyncIterator[Channel]:
    """Run the service with the policy above."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY, encoding="utf-8")
    async with serve_ratelimit(redis_url, policies=tmp_path) as channel:
        yield channel


class Limits:
    """The stub, with less to write."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.RateLimitServiceStub(channel.raw)

    async def check(
        self, endpoint: str, *also: pb.Act, cost: int = 1, plan: str = "", subject: str = SUBJECT
    ) -> pb.Decision:
        request = pb.CheckRequest(
            subject=subject, endpoint=endpoint, cost=cost, plan=plan, also=also
        )
        return (await self._channel.unary(self._stub.Check, request)).decision

    async def remaining(self, endpoint: str, subject: str = SUBJECT) -> list[int]:
        request = pb.PeekRequest(subject=subject, endpoint=endpoint)
        decision = (await self._channel.unary(self._stub.Peek, request)).decision
        return [limit.remaining for limit in decision.limits or [decision.limit]]

    async def batch(self, *acts: pb.Act, headers: bool = False) -> list[pb.Decision]:
        request = pb.CheckBatchRequest(acts=acts, headers=headers)
        return list((await self._channel.unary(self._stub.CheckBatch, request)).decisions)

    async def enforce(self, endpoint: str, *also: pb.Act, cost: int = 1) -> pb.Decision:
        request = pb.EnforceRequest(subject=SUBJECT, endpoint=endpoint, cost=cost, also=also)
        return (await self._channel.unary(self._stub.Enforce, request)).decision

    async def refund(self, request: pb.RefundRequest) -> pb.RefundResponse:
        return await self._channel.unary(self._stub.Refund, request)

    async def reset(self, request: pb.ResetRequest) -> list[str]:
        return list((await self._channel.unary(self._stub.Reset, request)).rules)

    async def explain(self, endpoint: str, plan: str = "") -> pb.ExplainResponse:
        request = pb.ExplainRequest(subject=SUBJECT, endpoint=endpoint, plan=plan)
        return await self._channel.unary(self._stub.Explain, request)


@pytest.fixture
def wire(to_service: Channel) -> Limits:
    """Return the methods of the service."""
    return Limits(to_service)


class TestSeveralLimitsOfARule:
    async def test_all_of_them_hold(self, wire: Limits) -> None:
        """Two a minute and four an hour: the minute denies first, and nothing of the hour goes."""
        for _ in range(2):
            await wire.check("upload")
        denied = await wire.check("upload")

        assert denied.outcome == pb.OUTCOME_DENIED
        assert [limit.admits for limit in denied.limits] == [False, True]
        assert [limit.remaining for limit in denied.limits] == [0, 2]
        assert 0 < denied.retry_after.seconds <= 61
        assert denied.limit.window.seconds == 60


class TestActsTogether:
    async def test_all_go_ahead_or_none(self, wire: Limits) -> None:
        """The sibling of a denied act is not charged."""
        await wire.check("chat", cost=5)
        denied = await wire.check("upload", pb.Act(subject=SUBJECT, endpoint="chat"))

        assert (denied.outcome, denied.rule) == (pb.OUTCOME_DENIED, "chat")
        assert await wire.remaining("upload") == [2, 4]

    async def test_those_that_go_ahead_are_all_charged(self, wire: Limits) -> None:
        """Each on its own counter, whoever the subjects are."""
        other = pb.Act(subject="team:1", endpoint="upload", cost=2)
        allowed = await wire.check("chat", other)

        assert allowed.outcome == pb.OUTCOME_ALLOWED
        assert await wire.remaining("chat") == [4]
        assert await wire.remaining("upload", "team:1") == [0, 2]

    async def test_two_on_one_counter_cost_their_sum(self, wire: Limits) -> None:
        """3 and 3 do not fit into 5, though each would."""
        same = pb.Act(subject=SUBJECT, endpoint="/api/chat/7", cost=3)
        denied = await wire.check("chat", same, cost=3)
        allowed = await wire.check("chat", same, cost=2)

        assert (denied.outcome, allowed.outcome) == (pb.OUTCOME_DENIED, pb.OUTCOME_ALLOWED)
        assert await wire.remaining("chat") == [0]

    async def test_at_most_sixteen(self, wire: Limits) -> None:
        """And each wrong field of each of them is named."""
        act = pb.Act(subject=SUBJECT, endpoint="chat")
        with pytest.raises(ValidationError) as too_many:
            await wire.check("chat", *[act] * 16)
        with pytest.raises(ValidationError) as wrong:
            await wire.check("chat", act, pb.Act(subject="", endpoint="a\n", cost=0))

        assert too_many.value.fields == {"also": "holds 16 acts; give at most 15"}
        assert set(wrong.value.fields) == {"also[1].subject", "also[1].endpoint", "also[1].cost"}


class TestCheckBatch:
    async def test_each_act_stands_for_itself(self, wire: Limits) -> None:
        """In the order of the request; one that is denied keeps nobody else."""
        decisions = await wire.batch(
            pb.Act(subject=SUBJECT, endpoint="chat", cost=4),
            pb.Act(subject=SUBJECT, endpoint="chat", cost=2),
            pb.Act(subject=SUBJECT, endpoint="chat", cost=1),
            pb.Act(subject=SUBJECT, endpoint="chat", plan="pro"),
            pb.Act(subject=SUBJECT, endpoint="upload", cost=3),
        )

        assert [each.outcome for each in decisions] == [
            pb.OUTCOME_ALLOWED,
            pb.OUTCOME_DENIED,
            pb.OUTCOME_ALLOWED,
            pb.OUTCOME_ALLOWED,
            pb.OUTCOME_DENIED,
        ]
        assert [each.limit.remaining for each in decisions] == [1, 1, 0, 0, 2]
        assert decisions[4].reason == pb.DENIAL_REASON_COST_ABOVE_LIMIT

    async def test_as_many_as_a_thousand_are_decided_exactly(self, wire: Limits) -> None:
        """100 a minute: a hundred of a thousand pass."""
        decisions = await wire.batch(*[pb.Act(subject=SUBJECT, endpoint="any")] * 1000)

        assert sum(each.outcome == pb.OUTCOME_ALLOWED for each in decisions) == 100

    async def test_headers_come_when_asked_for(self, wire: Limits) -> None:
        """They are a third of the work."""
        act = pb.Act(subject=SUBJECT, endpoint="chat")
        (without,) = await wire.batch(act)
        (with_them,) = await wire.batch(act, headers=True)

        assert not without.headers
        assert {header.name for header in with_them.headers} >= {"ratelimit", "x-ratelimit-limit"}

    @pytest.mark.parametrize("count", [0, 1001])
    async def test_its_size_is_bounded(self, wire: Limits, count: int) -> None:
        """With the field."""
        with pytest.raises(ValidationError) as caught:
            await wire.batch(*[pb.Act(subject=SUBJECT, endpoint="chat")] * count)

        assert caught.value.fields == {"acts": f"holds {count} acts; give 1 to 1,000 at once"}

    async def test_one_wrong_act_refuses_all(self, wire: Limits) -> None:
        """And nothing is consumed."""
        with pytest.raises(ValidationError) as caught:
            await wire.batch(
                pb.Act(subject=SUBJECT, endpoint="chat"), pb.Act(subject="", endpoint="chat")
            )

        assert caught.value.fields == {"acts[1].subject": "is empty; give 1 to 256 bytes"}
        assert await wire.remaining("chat") == [5]


class TestEnforce:
    async def test_over_the_limit_it_fails_with_the_evidence(self, wire: Limits) -> None:
        """What to wait for, which rule, and the headers to pass on."""
        allowed = await wire.enforce("chat", cost=5)
        with pytest.raises(RateLimitError) as caught:
            await wire.enforce("chat")
        error = caught.value

        assert allowed.outcome == pb.OUTCOME_ALLOWED
        assert (error.reason, error.metadata["rule"]) == ("RATE_LIMITED", "chat")
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 3700
        assert error.message == "the limit 5/h of the rule chat is used up; wait for retry_after"
        assert error.metadata["x-ratelimit-remaining"] == "0"
        assert int(error.metadata["retry-after"]) >= error.retry_after

    async def test_of_several_acts_the_one_that_was_over_is_named(self, wire: Limits) -> None:
        """Whoever came first may have room left."""
        with pytest.raises(RateLimitError) as caught:
            await wire.enforce("chat", pb.Act(subject="user:43", endpoint="chat", cost=6))

        assert caught.value.metadata["subject"] == "user:43"

    async def test_what_can_never_pass_is_not_to_be_repeated(self, wire: Limits) -> None:
        """There is nothing to wait for."""
        with pytest.raises(RateLimitError, match="can never pass") as caught:
            await wire.enforce("chat", cost=6)

        assert (caught.value.reason, caught.value.retry_after) == ("COST_ABOVE_LIMIT", None)


class TestShadow:
    async def test_it_never_denies_and_says_what_it_would_have_done(self, wire: Limits) -> None:
        """So that operators see what a limit would do before it does it."""
        await wire.check("watched")
        second = await wire.check("watched")

        assert second.outcome == pb.OUTCOME_ALLOWED
        assert (second.limit.shadow, second.limit.admits) == (True, False)
        assert not second.headers


class TestRefund:
    async def test_what_was_consumed_comes_back(self, wire: Limits) -> None:
        """At the moment that the decision tells."""
        decision = await wire.check("chat", cost=4)
        told = await wire.refund(
            pb.RefundRequest(
                subject=SUBJECT, endpoint="chat", cost=3, admit_time=decision.decide_time
            )
        )

        assert (told.refunded, [limit.remaining for limit in told.limits]) == (3, [4])

    async def test_never_more_than_was_consumed(self, wire: Limits) -> None:
        """What remains does not rise above the limit."""
        await wire.check("chat", cost=2)
        told = await wire.refund(pb.RefundRequest(subject=SUBJECT, endpoint="chat", cost=100))

        assert (told.refunded, [limit.remaining for limit in told.limits]) == (2, [5])

    async def test_with_a_request_id_it_may_be_repeated(self, wire: Limits) -> None:
        """The second call changes nothing and says so."""
        await wire.check("chat", cost=4)
        request = pb.RefundRequest(subject=SUBJECT, endpoint="chat", cost=1, request_id="r-1")
        first, second = await wire.refund(request), await wire.refund(request)

        assert (first.refunded, first.repeated_request) == (1, False)
        assert (second.refunded, second.repeated_request) == (0, True)
        assert await wire.remaining("chat") == [2]

    async def test_of_unlimited_there_is_nothing_to_give_back(self, wire: Limits) -> None:
        """Nothing was consumed."""
        told = await wire.refund(pb.RefundRequest(subject=SUBJECT, endpoint="chat", plan="pro"))

        assert (told.refunded, list(told.limits)) == (0, [])


class TestReset:
    async def test_a_subject_begins_anew_on_the_rule(self, wire: Limits) -> None:
        """Others are left alone."""
        for subject in (SUBJECT, "user:43"):
            await wire.check("chat", cost=5, subject=subject)
        rules = await wire.reset(pb.ResetRequest(subject=SUBJECT, endpoint="/api/chat/9"))

        assert rules == ["chat"]
        assert await wire.remaining("chat") == [5]
        assert await wire.remaining("chat", "user:43") == [0]

    async def test_everything_of_a_subject(self, wire: Limits) -> None:
        """The rules of which something was forgotten are named."""
        await wire.check("chat")
        await wire.check("upload")
        rules = await wire.reset(pb.ResetRequest(subject=SUBJECT, everything=True))
        again = await wire.reset(pb.ResetRequest(subject=SUBJECT, everything=True))

        assert (rules, again) == (["chat", "upload"], [])

    @pytest.mark.parametrize("target", [{"endpoint": ""}, {"rule": ""}, {"everything": False}])
    async def test_an_empty_target_is_not_everything(
        self, wire: Limits, target: dict[str, Any]
    ) -> None:
        """As a caller sends it whose own field was left empty."""
        await wire.check("chat", cost=5)
        with pytest.raises(ValidationError) as caught:
            await wire.reset(pb.ResetRequest(subject=SUBJECT, **target))

        assert set(caught.value.fields) == {"target"}
        assert await wire.remaining("chat") == [0]

    async def test_what_is_missing_is_named(self, wire: Limits) -> None:
        """No target, or a rule that there is not."""
        with pytest.raises(ValidationError) as caught:
            await wire.reset(pb.ResetRequest(subject=SUBJECT))
        with pytest.raises(NotFoundError) as unknown:
            await wire.reset(pb.ResetRequest(subject=SUBJECT, rule="chatt"))

        assert set(caught.value.fields) == {"target"}
        assert unknown.value.reason == "RULE_NOT_FOUND"


class TestExplain:
    async def test_each_kind_of_rule_that_applies_is_told(self, wire: Limits) -> None:
        """With what matched, where the limits come from, and what remains."""
        await wire.check("/api/chat/7", cost=2)
        told = await wire.explain("/api/chat/7")
        chat, exports, tokens = told.rules

        assert (told.plan_source, told.degraded) == (pb.PLAN_SOURCE_NONE, False)
        assert (chat.rule, chat.matched) == ("chat", "/api/chat/*")
        assert list(chat.also_matching) == ["*"]
        assert chat.limit_source == pb.LIMIT_SOURCE_DEFAULT
        assert [limit.remaining for limit in chat.limits] == [3]
        assert (exports.rule, exports.limits[0].algorithm) == (
            "exports",
            pb.ALGORITHM_CONCURRENCY,
        )
        assert exports.limits[0].remaining == 2
        assert (tokens.rule, tokens.limits[0].measure) == ("ai_tokens", pb.MEASURE_TOKENS)

    async def test_it_consumes_nothing(self, wire: Limits) -> None:
        """However often somebody asks."""
        for _ in range(3):
            await wire.explain("chat")

        assert await wire.remaining("chat") == [5]

    async def test_the_plan_of_the_call_decides(self, wire: Limits) -> None:
        """And is told to be where the limit comes from."""
        told = await wire.explain("chat", plan="basic")

        assert (told.plan, told.plan_source) == ("basic", pb.PLAN_SOURCE_CALL)
        assert told.rules[0].limit_source == pb.LIMIT_SOURCE_PLAN
        assert told.rules[0].limits[0].limit == 3

    async def test_a_tenants_own_limits_come_first(self, wire: Limits) -> None:
        """Seven a minute for globex alone."""
        with context.request(tenant="globex"):
            told = await wire.explain("anything")

        assert told.rules[0].limit_source == pb.LIMIT_SOURCE_TENANT
        assert told.rules[0].limits[0].limit == 7
