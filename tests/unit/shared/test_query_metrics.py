"""Durations of queries, and which of them are slow."""

import pytest
from prometheus_client.registry import CollectorRegistry
from structlog.testing import capture_logs

from shared.postgres.queries import name_of
from shared.postgres.slow_queries import SlowQueries
from shared.telemetry.query_metrics import QueryMetrics, quantile


class TestSlowQueries:
    def test_are_named_once_a_minute(self) -> None:
        """With the p95 and the number of runs of that minute only."""
        queries = QueryMetrics()
        watch = SlowQueries(queries)
        with capture_logs() as first:
            for _ in range(90):
                queries.observe("claim_jobs", 0.02)
            for _ in range(10):
                queries.observe("claim_jobs", 0.2)
            watch.run_once()
        with capture_logs() as second:
            watch.run_once()

        (line,) = first
        assert ("slow_query", "claim_jobs", 100, "warning") == (
            line["event"],
            line["query"],
            line["count"],
            line["log_level"],
        )
        assert 100 < line["p95_ms"] <= 250
        assert [] == second

    def test_are_not_those_with_a_few_slow_runs(self) -> None:
        """One in twenty-five is beyond the p95."""
        queries = QueryMetrics()
        watch = SlowQueries(queries)
        with capture_logs() as lines:
            for n in range(100):
                queries.observe("claim_jobs", 0.5 if n % 25 == 0 else 0.02)
            watch.run_once()

        assert [] == lines

    def test_a_minute_that_was_slow_before_does_not_count(self) -> None:
        """What matters is how queries are now."""
        queries = QueryMetrics()
        queries.observe("claim_jobs", 5.0)
        watch = SlowQueries(queries)
        with capture_logs() as lines:
            for _ in range(5):
                queries.observe("claim_jobs", 0.01)
            watch.run_once()

        assert [] == lines


class TestQuantiles:
    @pytest.mark.parametrize(
        ("durations", "expected"),
        [([], 0.0), ([0.1], 0.0975), ([100.0], 60.0), ([0.0004] * 95 + [9.0] * 5, 0.0005)],
    )
    def test_are_read_off_the_buckets(self, durations: list[float], expected: float) -> None:
        """As Prometheus would: evenly spread within a bucket, at most the last bound."""
        queries = QueryMetrics()
        for seconds in durations:
            queries.observe("q", seconds)
        counts = [*queries.counts().get("q", ())]

        assert expected == pytest.approx(quantile(counts, 0.95))


class TestMetrics:
    def test_are_a_histogram_by_query(self) -> None:
        """Count, sum and cumulated buckets."""
        queries, registry = QueryMetrics(), CollectorRegistry()
        registry.register(queries)
        for seconds in (0.004, 0.2, 100.0):
            queries.observe("claim_jobs", seconds)
        name = "mainstay_postgres_query_duration_seconds"

        def value(suffix: str, **labels: str) -> float | None:
            return registry.get_sample_value(name + suffix, {"query": "claim_jobs", **labels})

        assert (3, 1, 2, 3) == (
            value("_count"),
            value("_bucket", le="0.005"),
            value("_bucket", le="0.25"),
            value("_bucket", le="+Inf"),
        )
        assert 100.204 == pytest.approx(value("_sum"))

    def test_what_stands_in_no_file_is_one(self) -> None:
        """There are as many names as queries, whatever is asked."""
        assert ("(other)", "(commit)") == (name_of("SELECT 17"), name_of("COMMIT"))
