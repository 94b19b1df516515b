"""ReserveAiUsage, RecordAiUsage and SummarizeAiUsage, as callers in any language see them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.channel import Channel
from mainstay.errors import ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from tests.integration.ratelimit.conftest import ServeRateLimit

POLICY = """\
version: 1
plans: {pro: {}}
limits:
  - name: rest
    endpoints: ["*"]
    default: 100/h
budgets:
  - name: ai_tokens
    measure: tokens
    default: 10_000/d
    plans: {pro: unlimited}
  - name: ai_money
    measure: money
    default: 0.05/month
    plans: {pro: unlimited}
prices:
  openai/gpt-4o: {input: 2.50, output: 10.00, cached_input: 1.25}
"""
GPT: dict[str, Any] = {"subject": "user:1", "provider": "openai", "model": "gpt-4o"}


@pytest.fixture
async def acme(
    redis_url: str, postgres_url: str, tmp_path: Path, serve_ratelimit: ServeRateLimit
) -> AsyncIterator[Channel]:
    """Serve with PostgreSQL and a policy of two small budgets."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY, encoding="utf-8")
    async with serve_ratelimit(redis_url, policies=tmp_path, postgres_url=postgres_url) as channel:
        yield channel


@pytest.fixture
def stub(acme: Channel) -> "pb_grpc.RateLimitServiceAsyncStub":
    """Return what calls are made with."""
    return pb_grpc.RateLimitServiceStub(acme.raw)


class TestCall:
    async def test_is_reserved_recorded_and_summed_up(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """Tokens and money, from the estimate to the sum."""
        reserved = await acme.unary(
            stub.ReserveAiUsage,
            pb.ReserveAiUsageRequest(**GPT, input_tokens=1_000, max_output_tokens=2_000),
        )
        recorded = await acme.unary(
            stub.RecordAiUsage,
            pb.RecordAiUsageRequest(
                **GPT,
                input_tokens=1_000,
                output_tokens=500,
                cached_input_tokens=400,
                latency=Duration(seconds=2),
                operation="chat",
                reservation=reserved.reservation,
            ),
        )
        told = await acme.unary(
            stub.SummarizeAiUsage,
            pb.SummarizeAiUsageRequest(
                group_by=[pb.AI_USAGE_DIMENSION_SUBJECT, pb.AI_USAGE_DIMENSION_OPERATION]
            ),
        )

        assert pb.OUTCOME_ALLOWED == reserved.decision.outcome
        assert (22_500, 7_000) == (reserved.estimated_cost_micros, recorded.cost_micros)
        assert [
            ("ai_tokens", pb.MEASURE_TOKENS, 8_500),
            ("ai_money", pb.MEASURE_MONEY, 43_000),
        ] == [(it.rule, it.measure, it.remaining) for it in recorded.budgets]
        (group,) = told.groups
        assert ["user:1", "chat"] == list(group.values)
        assert (1, 1_000, 500, 400, 7_000, 2) == (
            group.sum.calls,
            group.sum.input_tokens,
            group.sum.output_tokens,
            group.sum.cached_input_tokens,
            group.sum.cost_micros,
            group.sum.mean_latency.seconds,
        )
        assert told.total == group.sum

    async def test_that_a_budget_denies_is_evidence(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """As a check would be, with the model for an endpoint."""
        reserved = await acme.unary(
            stub.ReserveAiUsage, pb.ReserveAiUsageRequest(**GPT, max_output_tokens=6_000)
        )
        listed = await acme.unary(stub.ListViolations, pb.ListViolationsRequest())

        assert pb.DENIAL_REASON_COST_ABOVE_LIMIT == reserved.decision.reason
        assert "" == reserved.reservation
        assert [("ai_money", "openai/gpt-4o")] == [
            (violation.rule, violation.endpoint) for violation in listed.violations
        ]

    async def test_of_a_model_without_a_price_has_no_cost(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """Which is not a cost of nothing."""
        unheard_of = {**GPT, "model": "unheard-of", "plan": "pro"}
        reserved = await acme.unary(
            stub.ReserveAiUsage, pb.ReserveAiUsageRequest(**unheard_of, input_tokens=1)
        )
        recorded = await acme.unary(
            stub.RecordAiUsage, pb.RecordAiUsageRequest(**unheard_of, input_tokens=1)
        )

        assert not reserved.HasField("estimated_cost_micros")
        assert not recorded.HasField("cost_micros")

    async def test_that_costs_nothing_says_so(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """Zero is a price."""
        recorded = await acme.unary(
            stub.RecordAiUsage, pb.RecordAiUsageRequest(**GPT, input_tokens=1, cost_micros=0)
        )

        assert recorded.HasField("cost_micros")
        assert [9_999, 50_000] == [budget.remaining for budget in recorded.budgets]

    async def test_that_is_repeated_says_so(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """And is charged once."""
        request = pb.RecordAiUsageRequest(**GPT, input_tokens=1_000, request_id="r1")
        first = await acme.unary(stub.RecordAiUsage, request)
        second = await acme.unary(stub.RecordAiUsage, request)

        assert (False, True) == (first.repeated_request, second.repeated_request)
        assert [9_000, 47_500] == [budget.remaining for budget in second.budgets]

    async def test_is_nothing_that_a_preview_replays(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """A model is no endpoint that a rate could cover."""
        await acme.unary(stub.ReserveAiUsage, pb.ReserveAiUsageRequest(**GPT, input_tokens=1))
        await acme.unary(stub.Check, pb.CheckRequest(subject="user:1", endpoint="/chat"))
        async with asyncio.timeout(10):
            while True:
                told = await acme.unary(stub.PreviewPolicy, pb.PreviewPolicyRequest(text=POLICY))
                if told.replayed:
                    break
                await asyncio.sleep(0.05)

        assert 1 == told.replayed


class TestBadInput:
    async def test_is_told_with_every_field(
        self, acme: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub"
    ) -> None:
        """At once."""
        with pytest.raises(ValidationError) as caught:
            await acme.unary(
                stub.RecordAiUsage,
                pb.RecordAiUsageRequest(
                    provider="a/b",
                    cached_input_tokens=1,
                    latency=Duration(seconds=-1),
                    cost_micros=-1,
                    reservation="made-up",
                ),
            )

        assert {
            "subject",
            "provider",
            "model",
            "cached_input_tokens",
            "latency",
            "cost_micros",
            "reservation",
        } == caught.value.fields.keys()

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ([0], "group_by[0]"),
            ([1, 99], "group_by[1]"),
            ([1, 1], "group_by"),
            ([1] * 6, "group_by"),
        ],
    )
    async def test_of_a_summary_names_the_dimension(
        self,
        acme: Channel,
        stub: "pb_grpc.RateLimitServiceAsyncStub",
        asked: list[Any],
        field: str,
    ) -> None:
        """One that does not exist, or is named twice."""
        with pytest.raises(ValidationError) as caught:
            await acme.unary(stub.SummarizeAiUsage, pb.SummarizeAiUsageRequest(group_by=asked))

        assert [field] == list(caught.value.fields)
