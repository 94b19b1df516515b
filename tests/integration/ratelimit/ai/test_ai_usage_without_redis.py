"""AI calls go on while the counters are away, and are charged when they are back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cli.embedded.redis import RedisServer
from mainstay.channel import Channel
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from tests.integration.ratelimit.conftest import ServeRateLimit

POLICY = """\
version: 1
limits:
  - name: rest
    endpoints: ["*"]
    default: 100/h
budgets:
  - name: ai_tokens
    measure: tokens
    default: 10_000/d
    on_failure: local
"""
GPT: dict[str, Any] = {"subject": "user:1", "provider": "openai", "model": "gpt-4o"}


@pytest.fixture
async def acme(
    private_redis: RedisServer,
    postgres_url: str,
    tmp_path: Path,
    serve_ratelimit: ServeRateLimit,
) -> AsyncIterator[Channel]:
    """Serve with a Redis that comes and goes."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY, encoding="utf-8")
    async with serve_ratelimit(
        private_redis.url, policies=tmp_path, postgres_url=postgres_url
    ) as channel:
        yield channel


async def _settled(channel: Channel, stub: "pb_grpc.RateLimitServiceAsyncStub") -> list[int]:
    """Ask until the counters answer, and return what they have left."""
    request = pb.RecordAiUsageRequest(**GPT)
    async with asyncio.timeout(20):
        while True:
            recorded = await channel.unary(stub.RecordAiUsage, request)
            if not recorded.degraded:
                break
            await asyncio.sleep(0.05)
    return [budget.remaining for budget in recorded.budgets]


class TestCountersAway:
    async def test_calls_are_decided_by_the_failure_mode(
        self, acme: Channel, private_redis: RedisServer
    ) -> None:
        """And nothing is held that could not be settled."""
        stub = pb_grpc.RateLimitServiceStub(acme.raw)
        await private_redis.stop()
        reserved = [
            await acme.unary(
                stub.ReserveAiUsage, pb.ReserveAiUsageRequest(**GPT, input_tokens=6_000)
            )
            for _ in range(2)
        ]

        assert [pb.OUTCOME_ALLOWED, pb.OUTCOME_DENIED] == [
            each.decision.outcome for each in reserved
        ]
        assert [True, True] == [each.decision.degraded for each in reserved]
        assert ["", ""] == [each.reservation for each in reserved]

    async def test_calls_are_kept_now_and_charged_later(
        self, acme: Channel, private_redis: RedisServer
    ) -> None:
        """Once, however often they are repeated."""
        stub = pb_grpc.RateLimitServiceStub(acme.raw)
        await private_redis.stop()
        request = pb.RecordAiUsageRequest(**GPT, input_tokens=3_000, request_id="r1")
        recorded = [await acme.unary(stub.RecordAiUsage, request) for _ in range(3)]
        await private_redis.start()
        left = await _settled(acme, stub)
        told = await acme.unary(stub.SummarizeAiUsage, pb.SummarizeAiUsageRequest(subject="user:1"))

        assert [True] * 3 == [each.degraded for each in recorded]
        assert 3_000 == told.total.input_tokens
        assert [7_000] == left
