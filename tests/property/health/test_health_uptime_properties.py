"""Uptime, whatever was observed: within bounds, and the same however it is put together."""

from datetime import UTC, datetime, timedelta
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.history import BUDGET_SPAN, SPANS, History
from services.health.uptime import (
    Slice,
    Sums,
    error_budget,
    history,
    hour_cutoffs,
    minute_cutoffs,
    total,
    uptime,
)

NOW = datetime(2026, 5, 20, 13, 37, 42, tzinfo=UTC)
MONTH = BUDGET_SPAN.total_seconds()

seconds = st.floats(0, 3600, allow_subnormal=False)
sums = st.builds(Sums, healthy=seconds, degraded=seconds, unhealthy=seconds, maintenance=seconds)
hours_ago = st.integers(0, 24 * 95)


def told(observed: list[tuple[int, Sums]]) -> History:
    """Return the history of hours that began so many hours ago."""
    slices = [
        Slice(
            start_time=NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago),
            sums=each,
        )
        for ago, each in observed
    ]
    return history("cache", (), slices, NOW)


class TestUptime:
    @given(st.lists(st.tuples(hours_ago, sums), max_size=40))
    def test_is_bounded(self, observed: list[tuple[int, Sums]]) -> None:
        """Ratios and coverages are shares."""
        found = told(observed)

        assert all(0 <= each.coverage <= 1 for each in found.uptimes)
        assert all(0 <= each.ratio <= 1 for each in found.uptimes if each.ratio is not None)
        assert all(0 <= day.ratio <= 1 for day in found.days if day.ratio is not None)

    @given(st.lists(sums, min_size=1), st.randoms(use_true_random=False))
    def test_is_the_same_in_any_order(self, parts: list[Sums], random: object) -> None:
        """Sums of parts are the sum of the whole."""
        shuffled = sorted(parts, key=lambda _: random.random())  # type: ignore[attr-defined]
        middle = len(parts) // 2
        apart = total(shuffled[:middle]) + total(shuffled[middle:])
        whole = total(parts)

        assert pytest.approx(whole.known) == apart.known
        assert (whole.ratio is None) == (apart.ratio is None)
        assert whole.ratio is None or pytest.approx(whole.ratio) == apart.ratio

    @given(sums, seconds)
    def test_never_rises_with_downtime(self, before: Sums, down: float) -> None:
        """Nor does what is left of the budget."""
        after = before + Sums(unhealthy=down)

        assert before.ratio is None or after.ratio is None or after.ratio <= before.ratio
        assert error_budget(after).remaining_ratio <= error_budget(before).remaining_ratio

    @given(sums, seconds)
    def test_never_falls_with_uptime(self, before: Sums, up: float) -> None:
        """Degraded is up."""
        for more in (Sums(healthy=up), Sums(degraded=up)):
            after = before + more

            assert (
                before.ratio is None
                or after.ratio is None
                or (after.ratio >= before.ratio or isclose(after.ratio, before.ratio))
            )

    @given(sums, seconds)
    def test_does_not_see_maintenance(self, before: Sums, apart: float) -> None:
        """It is known time, and neither up nor down."""
        after = before + Sums(maintenance=apart)

        assert before.ratio == after.ratio
        assert before.known <= after.known

    @given(st.lists(st.tuples(hours_ago, sums), max_size=40))
    def test_of_a_longer_span_knows_no_less(self, observed: list[tuple[int, Sums]]) -> None:
        """Of 7, 30 and 90 days: each contains the one before."""
        by_hour = [each for each in told(observed).uptimes if each.span > timedelta(days=1)]
        known = [each.coverage * each.span.total_seconds() for each in by_hour]
        full = [each.coverage >= 1 for each in by_hour]

        assert any(full) or known == pytest.approx(sorted(known))

    @given(st.lists(st.tuples(hours_ago, sums), max_size=40))
    def test_of_days_adds_up(self, observed: list[tuple[int, Sums]]) -> None:
        """The downtime of all days is that of all hours on them."""
        found = told(observed)
        first = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=89)
        expected = sum(
            each.unhealthy
            for ago, each in observed
            if NOW.replace(minute=0, second=0) - timedelta(hours=ago) >= first
        )

        assert pytest.approx(expected, abs=1e-3) == sum(
            day.downtime.total_seconds() for day in found.days
        )
        assert list(found.days) == sorted(found.days, key=lambda day: day.start_time)
        assert len(found.days) <= 90


class TestKnownCases:
    def test_a_day_observed_is_a_thirtieth_of_a_month(self) -> None:
        """Coverage says how much of a ratio to believe."""
        found = uptime(timedelta(days=30), Sums(healthy=86_400.0))

        assert 1.0 == found.ratio
        assert pytest.approx(1 / 30) == found.coverage

    def test_no_more_than_the_span_is_known(self) -> None:
        """Spans begin with a whole minute or hour, a little before."""
        assert 1.0 == uptime(timedelta(hours=1), Sums(healthy=3_630.0)).coverage

    def test_nothing_known_is_no_ratio(self) -> None:
        """Not 100 %, and not 0 %."""
        found = history("cache", (), (), NOW)

        assert [None] * len(SPANS) == [each.ratio for each in found.uptimes]
        assert 1.0 == found.error_budget.remaining_ratio
        assert () == found.days

    def test_the_budget_of_30_days_is_43_minutes(self) -> None:
        """At 99.9 %; an hour of downtime is more than that."""
        budget = error_budget(Sums(healthy=MONTH, unhealthy=3600.0))

        assert timedelta(minutes=43, seconds=12) == budget.allowed
        assert pytest.approx(1 - 3600 / 2592) == budget.remaining_ratio

    def test_spans_begin_with_whole_minutes_and_hours(self) -> None:
        """Of the clock of the observer, so that no row is cut."""
        assert [
            datetime(2026, 5, 19, 13, 37, tzinfo=UTC),
            datetime(2026, 5, 20, 12, 37, tzinfo=UTC),
        ] == minute_cutoffs(NOW)
        assert [
            datetime(2026, 2, 19, 13, tzinfo=UTC),
            datetime(2026, 4, 20, 13, tzinfo=UTC),
            datetime(2026, 5, 13, 13, tzinfo=UTC),
        ] == hour_cutoffs(NOW)

    def test_only_maintenance_is_a_day_without_ratio(self) -> None:
        """It was known, and there is nothing to judge."""
        (day,) = told([(1, Sums(maintenance=3600.0))]).days

        assert (None, timedelta(0), False) == (day.ratio, day.downtime, day.degraded)
