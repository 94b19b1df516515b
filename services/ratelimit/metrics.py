"""What the rate limit service measures beyond its calls."""

from collections.abc import Iterable

from prometheus_client import Counter

from services.ratelimit.decision import Decision
from services.ratelimit.policy import Rule

decisions = Counter(
    "mainstay_ratelimit_decisions_total",
    "Checks by rule and outcome: allowed, denied. Peeks are not counted.",
    ["rule", "outcome"],
)


class DecisionCounter:
    """Counts checks. Every rule shows from the start, so that a rate over it has no gap."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._counters = {
            (rule.name, allowed): decisions.labels(rule.name, "allowed" if allowed else "denied")
            for rule in rules
            for allowed in (True, False)
        }

    def record(self, decision: Decision) -> None:
        self._counters[decision.rule, decision.allowed].inc()
