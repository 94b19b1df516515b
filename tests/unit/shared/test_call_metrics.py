"""Our counting of calls says what the library's own counters would say."""

import random

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.call_metrics import BUCKETS, SUCCESS, CallMetrics

CALLS = "mainstay_rpc_server_calls"
SECONDS = "mainstay_rpc_server_call_duration_seconds"
OUTCOMES = [SUCCESS, ("NOT_FOUND", "JOB_NOT_FOUND"), ("INTERNAL", "")]
# On every bound, beside every bound, beyond the last.
TIMES = [
    *BUCKETS,
    *(bound * 0.999 for bound in BUCKETS),
    *(bound * 1.001 for bound in BUCKETS),
    0.0,
]


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return what a scrape finds, without the times at which counters were made."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): round(sample.value, 9)
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created") and "in_flight" not in sample.name
    }


def registry_of(ours: CallMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ours)
    return registry


class TestCallMetrics:
    def test_count_as_the_library_does(self) -> None:
        """The same calls through its histogram and counter give the same samples."""
        ours, theirs = CallMetrics(), CollectorRegistry()
        seconds = Histogram(SECONDS, "-", ["method"], buckets=BUCKETS, registry=theirs)
        calls = Counter(CALLS, "-", ["method", "code", "reason"], registry=theirs)
        for method in ("a.B/C", "a.B/D"):
            calls.labels(method, *SUCCESS)
            for took in random.Random(7).choices(TIMES, k=500):
                outcome = OUTCOMES[int(took * 1e6) % len(OUTCOMES)]
                ours.of(method).count(took, outcome)
                seconds.labels(method).observe(took)
                calls.labels(method, *outcome).inc()

        assert samples(theirs) == samples(registry_of(ours))

    def test_a_method_is_there_before_its_first_call(self) -> None:
        """With zeros, so that a rate over it has a beginning."""
        ours = CallMetrics()
        ours.of("a.B/C")
        found = samples(registry_of(ours))

        labels = (("code", "OK"), ("method", "a.B/C"), ("reason", ""))
        assert (0.0, 0.0) == (
            found[f"{CALLS}_total", labels],
            found[f"{SECONDS}_count", (("method", "a.B/C"),)],
        )

    def test_servers_of_one_process_count_together(self) -> None:
        """A method that is served twice, as in tests, has one tally."""
        ours = CallMetrics()
        ours.of("a.B/C").count(0.1, SUCCESS)
        ours.of("a.B/C").count(0.1, SUCCESS)

        assert ours.of("a.B/C").by_outcome == {SUCCESS: 2}

    def test_calls_in_flight(self) -> None:
        """Shown as they are at the scrape."""
        ours = CallMetrics()
        ours.in_flight = 3

        assert registry_of(ours).get_sample_value("mainstay_rpc_server_calls_in_flight") == 3
