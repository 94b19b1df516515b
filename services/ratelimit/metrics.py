"""What the rate limits count, for Prometheus. Nothing here is labelled by subject or tenant.

Checks are counted in `services.ratelimit.tallies`, once for all who want to know, and arrive here
every second and before every scrape. What decides without the counters is in `degraded_metrics`.
"""

from collections.abc import Sequence

from prometheus_client import REGISTRY, Counter, Gauge

from services.ratelimit.policy import Policy
from services.ratelimit.tallies import Counted
from shared.telemetry.before_scrape import BeforeScrape

before_scrape = BeforeScrape()
REGISTRY.register(before_scrape)

decisions = Counter(
    "mainstay_ratelimit_decisions_total",
    "Checks by rule and outcome: allowed, denied; shadow_denied counts those again that a rule in "
    "shadow would have denied. Peeks are not counted.",
    ["rule", "outcome"],
)
degraded_checks = Counter(
    "mainstay_ratelimit_degraded_checks_total",
    "Checks by rule that were decided without the counters.",
    ["rule"],
)
evidence_dropped = Counter(
    "mainstay_ratelimit_evidence_dropped_total",
    "Denials that are in no list, and counts that are in no sum, because there were too many.",
)
evidence_waiting = Gauge(
    "mainstay_ratelimit_evidence_waiting", "Rows of evidence that are not yet in PostgreSQL."
)
ai_usage_waiting = Gauge(
    "mainstay_ratelimit_ai_usage_waiting", "AI calls that are not yet in PostgreSQL."
)
ai_usage_lost = Counter(
    "mainstay_ratelimit_ai_usage_lost_total", "AI calls that PostgreSQL will never hold."
)


class PrometheusEvidence:
    """Adds what was counted to the metrics."""

    def __init__(self) -> None:
        self._shown: Policy | None = None

    def show(self, policy: Policy) -> None:
        """Let every rule show from the start, so that a rate over it has no gap."""
        if policy is self._shown:
            return
        self._shown = policy
        for rule in policy.rules:
            for outcome in ("allowed", "denied", "shadow_denied"):
                decisions.labels(rule=rule.name, outcome=outcome)

    def add(self, counted: Sequence[Counted]) -> None:
        """Take in what was counted since the last time."""
        for (_, rule, _), tally in counted:
            outcomes = {
                "allowed": tally.allowed,
                "denied": tally.denied,
                "shadow_denied": tally.shadow_denied,
            }
            for outcome, count in outcomes.items():
                if count:
                    decisions.labels(rule=rule, outcome=outcome).inc(count)
            if tally.degraded:
                degraded_checks.labels(rule=rule).inc(tally.degraded)
            if tally.dropped:
                evidence_dropped.inc(tally.dropped)
