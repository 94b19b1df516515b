"""What Prometheus is told of AI calls."""

from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from services.ratelimit.ai_metrics import OTHER, ModelLabels
from services.ratelimit.policy import SECOND
from tests.integration.ratelimit.ai.spender import Spender

PREFIX = "mainstay_ratelimit_ai_"


@pytest.fixture
def provider() -> str:
    """Name one that no other test has called: metrics are of the process."""
    return uuid4().hex


def metric(name: str, provider: str, **labels: str) -> float:
    """Return a sample of a model of `provider`, 0 if there is none."""
    labels = {"provider": provider, "model": "gpt-4o", **labels}
    return REGISTRY.get_sample_value(PREFIX + name, labels) or 0.0


class TestCall:
    async def test_is_counted_with_what_it_took(self, here: Spender, provider: str) -> None:
        """Tokens of each kind, the provider's time, and dollars."""
        await here.record(1_000, 200, 400, provider=provider, cost=2_500_000, latency=3 * SECOND)

        assert 1 == metric("calls_total", provider, outcome="ok")
        assert [600, 400, 200] == [
            metric("tokens_total", provider, kind=kind)
            for kind in ("input", "cached_input", "output")
        ]
        assert (2.5, 0) == (
            metric("cost_dollars_total", provider),
            metric("unpriced_calls_total", provider),
        )
        assert (3, 0, 1) == (
            metric("call_duration_seconds_sum", provider),
            metric("call_duration_seconds_bucket", provider, le="2.5"),
            metric("call_duration_seconds_bucket", provider, le="5.0"),
        )

    async def test_that_failed_is_told_apart(self, here: Spender, provider: str) -> None:
        """So that a provider's bad day shows."""
        await here.record(10, provider=provider, error="overloaded")

        assert [0, 1] == [
            metric("calls_total", provider, outcome=outcome) for outcome in ("ok", "error")
        ]

    async def test_without_a_price_is_no_money(self, here: Spender, provider: str) -> None:
        """And somebody may see that the price table lacks it."""
        await here.record(10, provider=provider)

        assert (0, 1) == (
            metric("cost_dollars_total", provider),
            metric("unpriced_calls_total", provider),
        )

    async def test_recorded_again_counts_once(self, here: Spender, provider: str) -> None:
        """As with the budgets."""
        for _ in range(2):
            await here.record(10, provider=provider, request_id="once")

        assert 1 == metric("calls_total", provider, outcome="ok")


class TestEstimate:
    async def test_is_counted_with_the_budget_that_denied_it(self, here: Spender) -> None:
        """Admitted ones belong to no single budget."""
        labels = (("", "allowed"), ("ai_tokens", "denied"))

        def counted() -> list[float]:
            name = f"{PREFIX}estimates_total"
            return [
                REGISTRY.get_sample_value(name, {"budget": budget, "outcome": outcome}) or 0.0
                for budget, outcome in labels
            ]

        before = counted()
        await here.reserve(1_000)
        await here.reserve(10_001, model="free")

        assert [1, 1] == [now - then for now, then in zip(counted(), before, strict=True)]


class TestModels:
    def test_beyond_the_bound_are_counted_as_one(self) -> None:
        """Callers name them, and every label lives as long as the process."""
        labels = ModelLabels(max_models=2)
        named = [labels.of("openai", model) for model in ("a", "b", "c", "a")]

        assert [("openai", "a"), ("openai", "b"), (OTHER, OTHER), ("openai", "a")] == named
