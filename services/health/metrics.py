"""What the health service measures of its targets and of its own probes."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from services.health.rollup import Report
from services.health.state import Observation, State

probe_seconds = Histogram(
    "mainstay_health_probe_duration_seconds",
    "Time from asking a target to its answer, or to giving up.",
    ["target"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
probes = Counter(
    "mainstay_health_probes_total",
    "Finished probes by outcome: passed, degraded, failed.",
    ["target", "outcome"],
)
check_state = Gauge(
    "mainstay_health_check_state",
    "1 for the state that a target is in after damping, 0 for the others.",
    ["target", "state"],
)

suite_state = Gauge(
    "mainstay_health_suite_state",
    "1 for the state that the whole suite is in, 0 for the others.",
    ["state"],
)

_OUTCOMES = {State.HEALTHY: "passed", State.DEGRADED: "degraded"}


def record_probe(seen: Observation) -> None:
    """Count one finished probe."""
    outcome = _OUTCOMES.get(seen.state, "failed")
    probe_seconds.labels(seen.target).observe(seen.latency)
    probes.labels(seen.target, outcome).inc()


def forget(targets: Iterable[str]) -> None:
    """Count probes of these no more: with replicas that come and go there is no end of names."""
    for target in targets:
        probe_seconds.remove_by_labels({"target": target})
        probes.remove_by_labels({"target": target})


def record_report(report: Report) -> None:
    """Show the state of the suite and of each target, and forget targets that are gone."""
    check_state.clear()
    for state in State:
        suite_state.labels(state.value).set(state is report.state)
        for check in report.checks:
            check_state.labels(check.target.name, state.value).set(state is check.state)
