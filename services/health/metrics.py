"""What the health service measures of its targets and of its own probes."""

from prometheus_client import Counter, Gauge, Histogram

from services.health.rollup import Check
from services.health.state import Failure, Observation, State

probe_seconds = Histogram(
    "mainstay_health_probe_duration_seconds",
    "Time from asking a target to its answer, or to giving up.",
    ["target"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
probes = Counter(
    "mainstay_health_probes_total",
    "Finished probes by outcome: passed, failed.",
    ["target", "outcome"],
)
check_state = Gauge(
    "mainstay_health_check_state",
    "1 for the state that a target is in after damping, 0 for the others.",
    ["target", "state"],
)


def record_probe(seen: Observation) -> None:
    """Count one finished probe."""
    outcome = "failed" if isinstance(seen, Failure) else "passed"
    probe_seconds.labels(seen.target).observe(seen.latency)
    probes.labels(seen.target, outcome).inc()


def record_state(check: Check) -> None:
    """Show the state a target is in now."""
    for state in State:
        check_state.labels(check.target.name, state.value).set(state is check.state)
