"""Reads are counted by namespace and result, with a bounded number of labels."""

from prometheus_client import CollectorRegistry, Counter

from services.cache.entry import ABSENT, UNREADABLE, Entry
from services.cache.metrics import OTHER_NAMESPACES, PrometheusReads

HIT = Entry(
    value=b"v", content_type="", version=1, create_ms=1, soft_expiry_ms=None, expiry_ms=None
)


class TestReads:
    def test_hits_and_reasons_of_misses_are_told_apart(self) -> None:
        """The hit rate and what spoils it can be read from one metric."""
        registry, reads = _reads(max_namespaces=10)

        reads.count("video", [HIT, HIT, ABSENT, UNREADABLE])

        assert {
            ("video", "hit"): 2.0,
            ("video", "absent"): 1.0,
            ("video", "unreadable"): 1.0,
        } == _counted(registry)

    def test_namespaces_beyond_the_bound_are_counted_together(self) -> None:
        """A caller that invents namespaces cannot make the process grow."""
        registry, reads = _reads(max_namespaces=2)

        for namespace in ["a", "b", "c", "d", "a"]:
            reads.count(namespace, [HIT])

        assert {
            ("a", "hit"): 2.0,
            ("b", "hit"): 1.0,
            (OTHER_NAMESPACES, "hit"): 2.0,
        } == _counted(registry)


def _reads(max_namespaces: int) -> tuple[CollectorRegistry, PrometheusReads]:
    registry = CollectorRegistry()
    counter = Counter("reads_total", "Reads.", ["namespace", "result"], registry=registry)
    return registry, PrometheusReads(counter, max_namespaces)


def _counted(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["namespace"], sample.labels["result"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "reads_total"
    }
