"""Sums by the minute: each second in one state of one minute, and no more than there are."""

import pytest

from services.health.minutes import Cell, Held, Minutes
from services.health.state import State

UP = Held(State.HEALTHY)
DOWN = Held(State.UNHEALTHY, "Gone.", "r-1")
OUT = Held(State.MAINTENANCE)


def spent(minutes: Minutes) -> dict[Cell, dict[str, float]]:
    """Take all; returns the seconds by state."""
    return {
        cell: {state.value: seconds for state, seconds in tally.seconds.items()}
        for cell, tally in minutes.take(10**9, 1_000)
    }


class TestTime:
    def test_is_split_where_minutes_begin(self) -> None:
        """Whatever spans several of them."""
        minutes = Minutes(100)
        minutes.spend("cache", UP, 50.0, 190.0)

        assert {
            Cell("cache", 0): {"healthy": 10.0},
            Cell("cache", 1): {"healthy": 60.0},
            Cell("cache", 2): {"healthy": 60.0},
            Cell("cache", 3): {"healthy": 10.0},
        } == spent(minutes)

    def test_of_states_adds_up(self) -> None:
        """Each has its own sum."""
        minutes = Minutes(100)
        minutes.spend("cache", UP, 0.0, 20.0)
        minutes.spend("cache", DOWN, 20.0, 25.0)
        minutes.spend("cache", UP, 25.0, 30.0)
        minutes.spend("jobs", OUT, 0.0, 1.0)

        assert {
            Cell("cache", 0): {"healthy": 25.0, "unhealthy": 5.0},
            Cell("jobs", 0): {"maintenance": 1.0},
        } == spent(minutes)

    def test_that_a_clock_lives_through_twice_counts_once(self) -> None:
        """A minute has sixty seconds, also when the clock is set back."""
        minutes = Minutes(100)
        minutes.spend("cache", UP, 0.0, 50.0)
        minutes.spend("cache", DOWN, 20.0, 60.0)

        assert {Cell("cache", 0): {"healthy": 50.0, "unhealthy": 10.0}} == spent(minutes)

    def test_that_is_none_is_not_noted(self) -> None:
        """Two looks at the same moment leave nothing between them."""
        minutes = Minutes(100)
        minutes.spend("cache", UP, 10.0, 10.0)

        assert {} == spent(minutes)

    def test_says_what_was_worst(self) -> None:
        """With the message and the request id of that state."""
        minutes = Minutes(100)
        for held, start in ((UP, 0.0), (DOWN, 10.0), (Held(State.DEGRADED, "Slow."), 20.0)):
            minutes.spend("cache", held, start, start + 10)
        ((_, tally),) = minutes.take(1, 10)

        assert DOWN == tally.worst


class TestProbes:
    def test_are_counted_with_their_latencies(self) -> None:
        """The sum, for the mean, and the slowest."""
        minutes = Minutes(100)
        for latency, failed in ((0.1, False), (0.3, True), (0.2, False)):
            minutes.observe("cache", 59.9, latency=latency, failed=failed)
        ((cell, tally),) = minutes.take(1, 10)

        assert (Cell("cache", 0), 3, 1) == (cell, tally.probes, tally.failures)
        assert pytest.approx((0.6, 0.3)) == (tally.latency_sum, tally.latency_max)


class TestTaking:
    def test_leaves_the_minute_that_is_not_over(self) -> None:
        """And no more than was asked for is taken at once."""
        minutes = Minutes(100)
        minutes.spend("cache", UP, 0.0, 180.0)
        first = [cell.minute for cell, _ in minutes.take(2, 1)]
        second = [cell.minute for cell, _ in minutes.take(2, 10)]

        assert ([0], [1], 1) == (first, second, len(minutes))


class TestCapacity:
    def test_drops_the_oldest_and_counts(self) -> None:
        """Memory is bounded, however long nothing can be written."""
        minutes = Minutes(3)
        minutes.spend("cache", UP, 0.0, 600.0)
        kept = [cell.minute for cell, _ in minutes.take(100, 100)]

        assert ([7, 8, 9], 7) == (kept, minutes.dropped)
