"""GCRA, by vectors that others are held to, and at the instants where it is easily wrong."""

from dataclasses import dataclass

import pytest

from services.ratelimit.gcra import (
    MAX_DEBT,
    Debt,
    burst,
    charge,
    decide,
    emission_interval,
    refund,
)
from services.ratelimit.policy import DAY, MAX_QUOTA, SECOND, Algorithm, Limit
from services.ratelimit.verdict import Verdict

START = 1_760_000_000 * SECOND
# One a second, and five at once.
LIMIT = Limit(quota=60, window=60 * SECOND, burst=5, algorithm=Algorithm.GCRA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A request `at` seconds; then what remains and the seconds until reset and retry."""

    at: float
    cost: int
    remaining: int
    reset: float
    retry: float | None
    admits: bool


# The facts of throttled/throttled, rate_test.go, with a rate of 1/s and a burst of 5.
VECTORS = [
    Vector(at=0, cost=6, remaining=5, reset=0, retry=None, admits=False),
    Vector(at=0, cost=1, remaining=4, reset=1, retry=None, admits=True),
    Vector(at=0, cost=1, remaining=3, reset=2, retry=None, admits=True),
    Vector(at=0, cost=1, remaining=2, reset=3, retry=None, admits=True),
    Vector(at=0, cost=1, remaining=1, reset=4, retry=None, admits=True),
    Vector(at=0, cost=1, remaining=0, reset=5, retry=None, admits=True),
    Vector(at=0, cost=1, remaining=0, reset=5, retry=1, admits=False),
    Vector(at=3, cost=1, remaining=2, reset=3, retry=None, admits=True),
    Vector(at=3.1, cost=1, remaining=1, reset=3.9, retry=None, admits=True),
    Vector(at=4, cost=1, remaining=1, reset=4, retry=None, admits=True),
    Vector(at=8, cost=1, remaining=4, reset=1, retry=None, admits=True),
    Vector(at=9.5, cost=1, remaining=4, reset=1, retry=None, admits=True),
    Vector(at=9.5, cost=0, remaining=4, reset=1, retry=None, admits=True),
    Vector(at=9.5, cost=2, remaining=2, reset=3, retry=None, admits=True),
    Vector(at=9.5, cost=5, remaining=2, reset=3, retry=3, admits=False),
    Vector(at=15, cost=6, remaining=5, reset=0, retry=None, admits=False),
]


def _check(
    debt: Debt | None, now: int, cost: int = 1, limit: Limit = LIMIT
) -> tuple[Debt, Verdict]:
    kept, verdict = decide(debt, now=now, limit=limit, cost=cost, consume=True)
    assert kept is not None
    return kept, verdict


def _peek(debt: Debt | None, now: int, cost: int = 1, limit: Limit = LIMIT) -> Verdict:
    return decide(debt, now=now, limit=limit, cost=cost, consume=False)[1]


def _rate(quota: int, window: int, most: int = 0) -> Limit:
    return Limit(quota=quota, window=window, burst=most, algorithm=Algorithm.GCRA)


class TestVectors:
    def test_the_16_of_throttled(self) -> None:
        """One history, of which a cost of nothing only looks."""
        debt: Debt | None = None
        for vector in VECTORS:
            now = START + int(vector.at * SECOND)
            debt, verdict = decide(
                debt, now=now, limit=LIMIT, cost=vector.cost, consume=vector.cost > 0
            )
            retry = None if verdict.retry_at is None else (verdict.retry_at - now) / SECOND
            told = Vector(
                at=vector.at,
                cost=vector.cost,
                remaining=burst(LIMIT) - verdict.used,
                reset=(verdict.reset_at - now) / SECOND,
                retry=retry,
                admits=verdict.admits,
            )

            assert vector == told

    def test_there_are_16(self) -> None:
        """None was lost on the way."""
        assert 16 == len(VECTORS)


class TestIntervals:
    @pytest.mark.parametrize(
        ("limit", "interval", "most"),
        [
            (_rate(60, 60 * SECOND), SECOND, 60),
            (_rate(7, SECOND), 142_858, 7),
            (_rate(100_000, SECOND), 10, 100_000),
            (_rate(5, DAY, 2), 17_280 * SECOND, 2),
        ],
    )
    def test_are_rounded_up(self, limit: Limit, interval: int, most: int) -> None:
        """Never faster than the policy says; without a burst the quota may come at once."""
        assert (interval, most) == (emission_interval(limit), burst(limit))


class TestRefunds:
    def test_make_room_at_once(self) -> None:
        """What did not take place owes nothing."""
        debt, _ = _check(None, START, cost=5)
        _, amount, after = refund(debt, now=START, limit=LIMIT, cost=2, admitted_at=None)

        assert (2, 3, True) == (amount, after.used, after.admits)

    def test_of_all_leave_nothing(self) -> None:
        """The counter is gone, and no more than was there came back."""
        debt, _ = _check(None, START, cost=2)
        left = refund(debt, now=START, limit=LIMIT, cost=5, admitted_at=START)

        assert (None, 2, 0) == (left[0], left[1], left[2].used)

    @pytest.mark.parametrize(("late", "expected"), [(0, 3), (3, 2), (4, 1), (5, 0)])
    def test_give_back_what_cannot_be_paid_off_yet(self, late: int, expected: int) -> None:
        """Five seconds after an admission nothing of it is owed, whoever came since."""
        debt, _ = _check(None, START, cost=5)
        now = START + late * SECOND
        charged, _ = charge(debt, now=now, limit=LIMIT, cost=5)
        _, amount, _ = refund(charged, now=now, limit=LIMIT, cost=3, admitted_at=START)

        assert expected == amount


class TestClockSteppingBack:
    def test_it_pays_off_nothing(self) -> None:
        """A clock back by 3 s counts as standing still until it has caught up."""
        debt, _ = _check(None, START, cost=5)
        denied = _peek(debt, START - 3 * SECOND)

        assert (5, START + SECOND) == (denied.used, denied.retry_at)

    def test_from_far_ahead_the_debt_begins_to_shrink_at_once(self) -> None:
        """Its clock was wrong; waiting a year for ours would lock the subject out."""
        debt, _ = _check(None, START + 365 * DAY, cost=5)
        healed, denied = _check(debt, START)

        assert (False, START + SECOND) == (denied.admits, denied.retry_at)
        assert _peek(healed, START + SECOND).admits


class TestChangedLimit:
    def test_units_stay_units(self) -> None:
        """From one a second to one a minute: two consumed are two consumed."""
        debt, _ = _check(None, START, cost=2)
        slower = _rate(5, 300 * SECOND)
        verdict = _peek(debt, START, limit=slower)

        assert (2, START + 120 * SECOND) == (verdict.used, verdict.reset_at)


class TestLargestNumbers:
    def test_a_debt_ends_at_142_years(self) -> None:
        """Beyond that a Lua number would not be exact."""
        slow = _rate(1, 186 * DAY, 1)
        debt, _ = charge(None, now=START, limit=slow, cost=MAX_QUOTA)
        assert debt is not None
        assert START + MAX_DEBT == debt.due
