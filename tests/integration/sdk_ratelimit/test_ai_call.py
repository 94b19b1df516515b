"""An AI call within its budgets, against a service that does as it is told."""

import asyncio
import logging
from typing import Any

import pytest

from mainstay.errors import (
    AiQuotaError,
    DatabaseError,
    PreconditionError,
    RateLimitStoreError,
    UnavailableError,
    ValidationError,
)
from mainstay.ratelimit import RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, allowed, denied

CALL: dict[str, Any] = {
    "provider": "openai",
    "model": "gpt-4o",
    "input_tokens": 900,
    "max_output_tokens": 500,
}


@pytest.fixture(autouse=True)
def admitting(peer: ScriptedLimits) -> None:
    """Admit every call and record what is told."""
    peer.answer(
        "ReserveAiUsage",
        pb.ReserveAiUsageResponse(
            decision=allowed(), reservation="held-1", estimated_cost_micros=7_250
        ),
    )
    peer.answer("RecordAiUsage", pb.RecordAiUsageResponse(cost_micros=4_000))


async def recorded(peer: ScriptedLimits) -> Any:
    (record,) = await peer.asked("RecordAiUsage")
    return record


class TestBlock:
    async def test_is_recorded_with_what_it_used(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Against the estimate that was held, with the time that it took."""
        async with limits.ai_call("user:42", plan="pro", operation="chat", **CALL) as call:
            call.used(input_tokens=1, output_tokens=2)
            call.used(input_tokens=890, output_tokens=120, cached_input_tokens=400)
        record = await recorded(peer)

        assert ("user:42", "pro", "openai", "gpt-4o", "chat") == (
            record.subject,
            record.plan,
            record.provider,
            record.model,
            record.operation,
        )
        assert (890, 120, 400) == (
            record.input_tokens,
            record.output_tokens,
            record.cached_input_tokens,
        )
        assert ("held-1", "") == (record.reservation, record.error)
        assert 0 < record.latency.ToMicroseconds() < 10_000_000
        assert call.estimated_cost_micros == 7_250
        assert call.recorded is not None
        assert 4_000 == call.recorded.cost_micros

    async def test_does_not_run_beyond_the_budget(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Waiting helps: the error says how long. Nothing is recorded."""
        peer.answer("ReserveAiUsage", pb.ReserveAiUsageResponse(decision=denied(3600)))
        with pytest.raises(AiQuotaError, match="user:42 has used up the budget chat") as caught:
            async with limits.ai_call("user:42", **CALL):
                pytest.fail("the budget is used up")

        assert 3600.0 == caught.value.retry_after
        assert [] == peer.requests["RecordAiUsage"]

    async def test_does_not_run_when_nothing_would_help(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The estimate is more than the whole budget, or nobody can tell."""
        never = denied(None, reason=pb.DENIAL_REASON_COST_ABOVE_LIMIT)
        closed = denied(None, reason=pb.DENIAL_REASON_STORE_UNAVAILABLE)
        peer.answer(
            "ReserveAiUsage",
            pb.ReserveAiUsageResponse(decision=never),
            pb.ReserveAiUsageResponse(decision=closed),
        )
        with pytest.raises(AiQuotaError, match="can never pass") as caught:
            async with limits.ai_call("user:42", **CALL):
                pytest.fail("it is too much")
        with pytest.raises(RateLimitStoreError):
            async with limits.ai_call("user:42", **CALL):
                pytest.fail("nobody can tell")

        assert ("COST_ABOVE_LIMIT", None) == (caught.value.reason, caught.value.retry_after)

    async def test_with_wrong_figures_is_a_mistake(self, limits: RateLimitClient) -> None:
        """Named as the service would."""
        with pytest.raises(ValidationError, match="give 0 to 100,000,000") as caught:
            async with limits.ai_call("user:42", **{**CALL, "input_tokens": -1}):
                pytest.fail("there is no such prompt")

        assert ["input_tokens"] == list(caught.value.fields)


class TestWithoutFigures:
    async def test_a_failure_used_nothing(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """It is recorded as a failure, and the estimate is given back."""
        with pytest.raises(ConnectionError):
            async with limits.ai_call("user:42", **CALL):
                raise ConnectionError("no route" + "!" * 600)
        record = await recorded(peer)

        assert (0, 0, "held-1") == (record.input_tokens, record.output_tokens, record.reservation)
        assert record.error.startswith("ConnectionError: no route")
        assert 500 == len(record.error)

    async def test_a_failure_is_recorded_whatever_it_says(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """Else nothing would be settled."""
        with pytest.raises(ValueError, match="half"):
            async with limits.ai_call("user:42", **CALL):
                raise ValueError("half a character: \ud83d")
        record = await recorded(peer)

        assert "ValueError: half a character: ?" == record.error

    async def test_a_failure_after_them_used_them(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The provider charges for them."""

        async def fail() -> None:
            async with limits.ai_call("user:42", **CALL) as call:
                call.used(input_tokens=900, output_tokens=10)
                raise ValueError("not JSON")

        with pytest.raises(ValueError, match="not JSON"):
            await fail()
        record = await recorded(peer)

        assert (900, 10, "ValueError: not JSON") == (
            record.input_tokens,
            record.output_tokens,
            record.error,
        )

    async def test_a_cancelled_one_is_charged_its_estimate(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The provider may have answered; what is recorded is recorded all the same."""
        entered = asyncio.Event()

        async def work() -> None:
            async with limits.ai_call("user:42", **CALL):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.wait_for(entered.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        record = await recorded(peer)

        assert (900, 500) == (record.input_tokens, record.output_tokens)
        assert record.error.startswith("CancelledError")

    async def test_a_silent_one_is_charged_its_estimate(
        self,
        peer: ScriptedLimits,
        limits: RateLimitClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """And told of: somebody forgot to say what was used."""
        with caplog.at_level(logging.WARNING, "mainstay.ratelimit"):
            async with limits.ai_call("user:42", **CALL):
                pass
        record = await recorded(peer)

        assert (900, 500, "") == (record.input_tokens, record.output_tokens, record.error)
        assert "did not say what it used" in caplog.text


class TestRecording:
    async def test_is_repeated_as_the_same(
        self, peer: ScriptedLimits, limits: RateLimitClient
    ) -> None:
        """The first may have arrived."""
        answer = pb.RecordAiUsageResponse(cost_micros=4_000)
        peer.answer("RecordAiUsage", UnavailableError("a moment"), answer)
        async with limits.ai_call("user:42", **CALL) as call:
            call.used(input_tokens=1, output_tokens=1)
        first, second = peer.requests["RecordAiUsage"]

        assert first.request_id
        assert first == second

    @pytest.mark.parametrize(
        "error", [DatabaseError("gone"), PreconditionError("none", reason="NO_DATABASE")]
    )
    async def test_that_fails_does_not_fail_the_block(
        self,
        peer: ScriptedLimits,
        limits: RateLimitClient,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
    ) -> None:
        """The answer is there and was paid for; the log has what is missing in the books."""
        peer.answer("RecordAiUsage", error)
        with caplog.at_level(logging.ERROR, "mainstay.ratelimit"):
            async with limits.ai_call("user:42", **CALL) as call:
                call.used(input_tokens=890, output_tokens=120)

        assert call.recorded is None
        assert "openai/gpt-4o of user:42 with 890 and 120 tokens" in caplog.text

    async def test_of_what_is_no_figure_is_told_of(
        self, limits: RateLimitClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Some providers leave it out; that must not be silent."""
        with caplog.at_level(logging.ERROR, "mainstay.ratelimit"):
            async with limits.ai_call("user:42", **CALL) as call:
                missing: Any = None
                call.used(input_tokens=890, output_tokens=missing)

        assert call.recorded is None
        assert (
            "openai/gpt-4o of user:42 with 890 and None tokens: the output_tokens is" in caplog.text
        )
