"""Performance by the minute, out of what is counted anyway."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.call_metrics import BUCKETS, CallMetrics
from shared.telemetry.measuring import WorkMetrics
from shared.telemetry.performance import (
    TABLE,
    Performance,
    Performed,
    counts_of_work,
    percentile,
    performance_row,
)

MINUTE = 1_700_000_040.0
METHOD = "mainstay.cache.v1.CacheService/Get"


class Stage:
    """A process, and the minutes it closed."""

    def __init__(self, unseen: set[str] | None = None) -> None:
        self.now = MINUTE + 7
        self.calls, self.work = CallMetrics(), WorkMetrics()
        self.closed: list[Performed] = []
        self.unseen = unseen or set()
        self.begin()

    def begin(self) -> None:
        self.performance = Performance(
            self.calls,
            self.work,
            self.closed.append,
            unseen=self.unseen,
            clock=lambda: self.now,
        )

    def rows(self, minute: float = MINUTE) -> list[dict[str, Any]]:
        """Close the minute and return its rows."""
        self.closed.clear()
        self.performance.close(minute)
        make = performance_row("cache", "host:1:ab")
        return [dict(zip(TABLE.columns, make(done), strict=True)) for done in self.closed]


class TestAMinute:
    def test_of_a_method(self) -> None:
        """Count, errors, and durations out of the buckets, in milliseconds."""
        stage = Stage()
        for _ in range(99):
            stage.calls.of(METHOD).count(0.0015, ("OK", ""))
        stage.calls.of(METHOD).count(0.2, ("NOT_FOUND", "NO_KEY"))
        (row,) = stage.rows()

        assert (row["kind"], row["name"], row["service"]) == ("rpc", METHOD, "cache")
        assert row["minute"].isoformat() == "2023-11-14T22:14:00+00:00"
        assert (row["count"], row["errors"]) == (100, 1)
        assert row["total_ms"] == pytest.approx(99 * 1.5 + 200)
        assert (row["min_ms"], row["max_ms"]) == (1.0, 250.0)
        assert row["p50_ms"] == pytest.approx(1.505, abs=0.01)
        assert row["p99_ms"] == pytest.approx(2.0)

    def test_of_work(self) -> None:
        """With the true extremes, within which the percentiles stay."""
        stage = Stage()
        stage.work.count("test.sweep", 0.3, failed=False)
        stage.work.count("test.sweep", 0.4, failed=True)
        (row,) = stage.rows()

        assert (row["kind"], row["name"]) == ("measured", "test.sweep")
        assert (row["count"], row["errors"]) == (2, 1)
        assert (row["min_ms"], row["max_ms"]) == (300.0, 400.0)
        assert 300 <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= 400

    def test_holds_what_came_since_the_last(self) -> None:
        """Not what was counted before, nor the extremes of before."""
        stage = Stage()
        stage.work.count("test.sweep", 9.0, failed=True)
        stage.rows()
        stage.work.count("test.sweep", 0.3, failed=False)
        (row,) = stage.rows(MINUTE + 60)

        assert (row["count"], row["errors"], row["max_ms"]) == (1, 0, 300.0)
        assert row["total_ms"] == pytest.approx(300)

    def test_in_which_nothing_happened(self) -> None:
        """Has no row: an idle service writes nothing."""
        stage = Stage()
        stage.calls.of(METHOD).count(0.001, ("OK", ""))
        stage.rows()

        assert stage.rows() == []

    def test_of_health_checks(self) -> None:
        """Has none either, though they come every second."""
        stage = Stage(unseen={METHOD})
        stage.calls.of(METHOD).count(0.001, ("OK", ""))

        assert stage.rows() == []

    def test_begins_with_the_service(self) -> None:
        """What the process had counted before is not this service's."""
        stage = Stage()
        stage.calls.of(METHOD).count(0.001, ("OK", ""))
        stage.begin()

        assert stage.rows() == []

    def test_of_calls_beyond_the_last_bucket(self) -> None:
        """As long as the last bound, of what is known."""
        stage = Stage()
        stage.calls.of(METHOD).count(3_600.0, ("OK", ""))
        (row,) = stage.rows()

        assert (row["min_ms"], row["max_ms"], row["p99_ms"]) == (60_000, 60_000, 60_000)

    def test_that_comes_twice(self) -> None:
        """Has its row already: a timer was early, or the clock set back. The next has the rest."""
        stage = Stage()
        for minute in (MINUTE, MINUTE, MINUTE + 60):
            stage.calls.of(METHOD).count(0.001, ("OK", ""))
            stage.performance.close(minute)

        assert [(MINUTE, 1), (MINUTE + 60, 2)] == [
            (done.minute, done.counts.count) for done in stage.closed
        ]

    def test_that_has_not_ended(self) -> None:
        """Is closed under its own beginning when the service stops."""
        stage = Stage()
        stage.calls.of(METHOD).count(0.001, ("OK", ""))
        stage.performance.close_current()

        assert [done.minute for done in stage.closed] == [MINUTE]


class TestPercentiles:
    @given(
        st.lists(st.floats(min_value=0, max_value=120, allow_nan=False), min_size=1),
        st.sampled_from([50, 95, 99]),
    )
    def test_are_in_the_bucket_of_the_exact_ones(
        self, durations: list[float], percent: float
    ) -> None:
        """And never outside of what was measured."""
        work = WorkMetrics()
        for seconds in durations:
            work.count("test", seconds, failed=False)
        tally = dict(work.tallies())["test"]
        done = Performed(MINUTE, "measured", "test", counts_of_work(tally), tally.least, tally.most)
        found = percentile(done, percent)
        rank = max(0, -(-len(durations) * percent // 100) - 1)  # ceiling
        exact = sorted(durations)[int(rank)]
        edges = [0.0, *BUCKETS, float("inf")]
        low, high = next((low, high) for low, high in pairwise(edges) if exact <= high)

        assert min(durations) <= found <= max(durations)
        assert low <= found <= high or found == pytest.approx(low)
