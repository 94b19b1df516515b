"""What fixed windows promise, in every time zone there is."""

from collections import Counter
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ratelimit.fixed_window import Bounds, Count, bounds, decide, refund
from services.ratelimit.policy import DAY, SECOND, Algorithm, Calendar, Limit

START = 1_760_000_000 * SECOND
HOUR = 3_600 * SECOND
MANY = settings(max_examples=150)

# Without the odd names that hold no rules of their own.
ZONES = sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")
# In hours. Troll in Antarctica moves its clocks by two of them.
LENGTHS = {Calendar.DAY: (22, 26), Calendar.WEEK: (166, 170), Calendar.MONTH: (670, 746)}

calendars = st.builds(
    Limit,
    quota=st.integers(1, 20),
    window=st.just(DAY),
    algorithm=st.just(Algorithm.FIXED_WINDOW),
    calendar=st.sampled_from([*Calendar]),
    time_zone=st.sampled_from(ZONES),
)
aligned = st.builds(
    Limit,
    quota=st.integers(1, 20),
    window=st.sampled_from([SECOND, 60 * SECOND, HOUR, 7 * DAY]),
    algorithm=st.just(Algorithm.FIXED_WINDOW),
)
limits = st.one_of(calendars, aligned)


class TestBounds:
    @given(limit=limits, now=st.integers(START, START + 3_650 * DAY))
    @MANY
    def test_every_moment_lies_in_one_window(self, limit: Limit, now: int) -> None:
        """The next one begins where it ends, and all its moments say the same."""
        begin, end = bounds(limit, now)

        assert begin <= now < end
        assert Bounds(begin, end) == bounds(limit, begin) == bounds(limit, end - 1)
        assert end == bounds(limit, end).begin

    @given(limit=calendars, now=st.integers(START, START + 3_650 * DAY))
    @MANY
    def test_a_calendars_window_is_as_long_as_its_days(self, limit: Limit, now: int) -> None:
        """An hour or two more or less when clocks change."""
        begin, end = bounds(limit, now)
        assert limit.calendar is not None
        shortest, longest = LENGTHS[limit.calendar]

        assert shortest * HOUR <= end - begin <= longest * HOUR


class TestBound:
    @given(
        limit=limits,
        acts=st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 1, 2]), st.integers(1, 21)),
            max_size=40,
        ),
    )
    @example(
        limit=Limit(quota=1, window=SECOND, algorithm=Algorithm.FIXED_WINDOW),
        acts=[(0, 0, 2), (0, 1, 1), (0, 0, 1)],
    )
    @MANY
    def test_no_window_admits_more_than_the_limit(
        self, limit: Limit, acts: list[tuple[int, int, int]]
    ) -> None:
        """When the clock steps back over a boundary, by the furthest at which it admitted.

        A denial leaves no trace of where the clock has been.
        """
        count: Count | None = None
        true_time, furthest = bounds(limit, START).begin, 0
        admitted: Counter[Bounds] = Counter()
        for elapsed, behind, cost in acts:
            true_time += elapsed * limit.window // 4
            now = true_time - behind * limit.window // 4
            count, verdict = decide(count, now=now, limit=limit, cost=cost, consume=True)
            if verdict.admits:
                furthest = max(furthest, now)
                admitted[bounds(limit, furthest)] += cost

        assert all(sum_ <= limit.quota for sum_ in admitted.values())

    @given(limit=limits, late=st.integers(0, 10), costs=st.lists(st.integers(1, 5), max_size=20))
    @MANY
    def test_promised_times_are_exact(self, limit: Limit, late: int, costs: list[int]) -> None:
        """All that was consumed leaves at the end of its window, not a microsecond before."""
        count: Count | None = None
        now = bounds(limit, START).end - 1 - late
        for cost in costs:
            count, verdict = decide(count, now=now, limit=limit, cost=cost, consume=True)
            again = {
                at: decide(count, now=at, limit=limit, cost=cost, consume=False)[1]
                for at in (verdict.reset_at - 1, verdict.reset_at)
            }

            assert verdict.retry_at in {None, verdict.reset_at}
            assert (verdict.retry_at is None) == (verdict.admits or cost > limit.quota)
            assert [verdict.used, 0] == [each.used for each in again.values()] or not verdict.used


class TestRefunds:
    @given(limit=limits, cost=st.integers(1, 20), back=st.integers(1, 20), age=st.integers(0, 9))
    @MANY
    def test_never_more_than_was_consumed_in_this_window(
        self, limit: Limit, cost: int, back: int, age: int
    ) -> None:
        """What was admitted in the last one has left with it."""
        begin, _ = bounds(limit, START)
        now = begin + 5
        count, before = decide(None, now=now, limit=limit, cost=cost, consume=True)
        _, amount, after = refund(count, now=now, limit=limit, cost=back, admitted_at=now - age)
        expected = min(back, before.used) if age <= 5 else 0

        assert expected == amount
        assert before.used - amount == after.used


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Asia/Kathmandu"])
def test_the_zones_of_the_tests_are_known(zone: str) -> None:
    """An installation without a time zone database would test nothing."""
    assert zone in ZONES
