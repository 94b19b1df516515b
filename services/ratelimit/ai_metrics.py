"""What AI calls took and cost, for Prometheus.

Callers name providers and models, and every label value lives as long as the process: the first
hundred models have series of their own, those that come after are counted as one.
"""

from prometheus_client import Counter, Histogram

from services.ratelimit.ai_call import AiCall
from services.ratelimit.decision import Decision
from services.ratelimit.policy import SECOND
from services.ratelimit.prices import MICROS, Tokens

MAX_MODELS = 100
OTHER = "(other)"

_LATENCIES = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)

estimates = Counter(
    "mainstay_ratelimit_ai_estimates_total",
    "Estimates that budgets were asked for, by outcome: allowed, denied; and of those that were "
    "denied, the budget that did it.",
    ["budget", "outcome"],
)
calls = Counter(
    "mainstay_ratelimit_ai_calls_total",
    "Recorded AI calls by outcome: ok, error. Repeated recordings are left out.",
    ["provider", "model", "outcome"],
)
tokens = Counter(
    "mainstay_ratelimit_ai_tokens_total",
    "Tokens of recorded calls by kind: input without the cached ones, cached_input, output.",
    ["provider", "model", "kind"],
)
cost_dollars = Counter(
    "mainstay_ratelimit_ai_cost_dollars_total",
    "US dollars that recorded calls cost, by the caller's word or the price table.",
    ["provider", "model"],
)
unpriced = Counter(
    "mainstay_ratelimit_ai_unpriced_calls_total",
    "Recorded calls without a price, which are in no sum of money.",
    ["provider", "model"],
)
seconds = Histogram(
    "mainstay_ratelimit_ai_call_duration_seconds",
    "Time that providers took, of the recorded calls that tell it.",
    ["provider", "model"],
    buckets=_LATENCIES,
)


class ModelLabels:
    """Bounds the labels of models."""

    def __init__(self, max_models: int = MAX_MODELS) -> None:
        self._max_models = max_models
        self._known: set[tuple[str, str]] = set()

    def of(self, provider: str, model: str) -> tuple[str, str]:
        """Return the values of the labels for a model."""
        named = (provider, model)
        if len(self._known) < self._max_models:
            self._known.add(named)
        return named if named in self._known else (OTHER, OTHER)


_models = ModelLabels()


def note_estimate(decision: Decision) -> None:
    """Count an estimate."""
    budget, outcome = ("", "allowed") if decision.allowed else (decision.rule, "denied")
    estimates.labels(budget, outcome).inc()


def note_call(call: AiCall, cost: int | None) -> None:
    """Count a call; `cost` is in millionths of a dollar, None for a model without a price."""
    labels = _models.of(call.provider, call.model)
    calls.labels(*labels, "error" if call.error else "ok").inc()
    for kind, count in _by_kind(call.tokens).items():
        tokens.labels(*labels, kind).inc(count)
    if cost is None:
        unpriced.labels(*labels).inc()
    else:
        cost_dollars.labels(*labels).inc(cost / MICROS)
    if call.latency is not None:
        seconds.labels(*labels).observe(call.latency / SECOND)


def _by_kind(used: Tokens) -> dict[str, int]:
    return {
        "input": used.input - used.cached_input,
        "cached_input": used.cached_input,
        "output": used.output,
    }
