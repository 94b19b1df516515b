"""What was counted reaches Prometheus, with a bounded number of labels."""

from prometheus_client import REGISTRY

from services.cache.entry import MissReason
from services.cache.metrics import PrometheusStatistics
from services.cache.statistics import OTHER, Group, Tally
from shared.telemetry.before_scrape import BeforeScrape

TALLY = Tally(
    hits=5,
    stale_hits=2,
    misses={MissReason.COLD: 3, MissReason.TAG: 1},
    computations=4,
    computations_saved=6,
    saved_ms=1_500,
    fills_refused=1,
)


def value(metric: str, **labels: str) -> float:
    """Return a figure as Prometheus would read it now."""
    return REGISTRY.get_sample_value(f"mainstay_cache_{metric}_total", labels) or 0.0


class TestReads:
    def test_hits_stale_ones_and_reasons_are_told_apart(self) -> None:
        """The hit rate and what spoils it can be read from one metric."""
        PrometheusStatistics().add([(Group("acme", "told-apart", "general"), TALLY)])

        found = {
            result: value("reads", namespace="told-apart", result=result)
            for result in ("hit", "stale", "cold", "invalidated_by_tag", "expired")
        }

        expected = {"hit": 3.0, "stale": 2.0, "cold": 3.0, "invalidated_by_tag": 1.0, "expired": 0}
        assert expected == found

    def test_tenants_and_classes_of_a_namespace_add_up(self) -> None:
        """Labels are for namespaces only; the rest is in the statistics."""
        together = PrometheusStatistics()
        together.add([(Group("acme", "adding", "general"), TALLY)])
        together.add([(Group("other", "adding", ""), TALLY)])

        assert 6.0 == value("reads", namespace="adding", result="hit")


class TestComputations:
    def test_what_was_saved(self) -> None:
        """In numbers and in seconds."""
        PrometheusStatistics().add([(Group("acme", "saving", "general"), TALLY)])

        names = (
            "computations",
            "computations_saved",
            "computation_seconds_saved",
            "fills_refused",
        )
        found = [value(name, namespace="saving") for name in names]

        assert [4.0, 6.0, 1.5, 1.0] == found


class TestNamespaces:
    def test_beyond_the_bound_are_counted_together(self) -> None:
        """A caller that invents namespaces cannot make the process grow."""
        before = value("reads", namespace=OTHER, result="hit")
        bounded = PrometheusStatistics(max_namespaces=2)
        for namespace in ["first", "second", "third", "fourth", "first"]:
            bounded.add([(Group("acme", namespace, ""), Tally(hits=1))])

        found = [
            value("reads", namespace=name, result="hit") for name in ("first", "second", "third")
        ]

        assert [2.0, 1.0, 0.0] == found
        assert 2.0 == value("reads", namespace=OTHER, result="hit") - before


class TestScrapes:
    def test_bring_in_what_was_counted_since(self) -> None:
        """A scrape does not show the figures of some seconds ago."""
        called: list[str] = []
        before = BeforeScrape()
        bring = lambda: called.append("brought")  # noqa: E731
        before.attach(bring)
        none = [*before.collect()]
        before.detach(bring)
        before.collect()

        assert ([], ["brought"]) == (none, called)
