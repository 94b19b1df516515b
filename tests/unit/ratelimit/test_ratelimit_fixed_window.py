"""Fixed windows: where a calendar's days begin, and what passes around a boundary."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from services.ratelimit.fixed_window import (
    Bounds,
    Count,
    bounds,
    charge,
    decide,
    mistake_in_zone,
    refund,
)
from services.ratelimit.policy import DAY, MAX_FIXED_QUOTA, SECOND, Algorithm, Calendar, Limit
from services.ratelimit.verdict import Verdict

HOUR = 3_600 * SECOND
START = 1_760_000_000 * SECOND // HOUR * HOUR


def fixed(
    quota: int = 10,
    window: int = HOUR,
    calendar: Calendar | None = None,
    zone: str = "UTC",
) -> Limit:
    return Limit(
        quota=quota,
        window=window,
        algorithm=Algorithm.FIXED_WINDOW,
        calendar=calendar,
        time_zone=zone,
    )


def moment(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp()) * SECOND


def _check(count: Count | None, now: int, cost: int, limit: Limit) -> tuple[Count, Verdict]:
    kept, verdict = decide(count, now=now, limit=limit, cost=cost, consume=True)
    assert kept is not None
    return kept, verdict


class TestCalendars:
    @pytest.mark.parametrize(
        ("calendar", "zone", "now", "begin", "end"),
        [
            (Calendar.DAY, "UTC", "2026-03-10T17:00", "2026-03-10", "2026-03-11"),
            (Calendar.DAY, "Asia/Kolkata", "2026-03-10T00:00", "2026-03-10", "2026-03-11"),
            (Calendar.WEEK, "UTC", "2026-03-15T23:59", "2026-03-09", "2026-03-16"),
            (Calendar.WEEK, "UTC", "2026-03-16T00:00", "2026-03-16", "2026-03-23"),
            (Calendar.MONTH, "UTC", "2026-02-28T23:59", "2026-02-01", "2026-03-01"),
            (Calendar.MONTH, "America/New_York", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
            # Clocks change: a day of 23 hours, one of 25, and one that has no midnight.
            (Calendar.DAY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-29", "2026-03-30"),
            (Calendar.DAY, "Europe/Berlin", "2026-10-25T12:00", "2026-10-25", "2026-10-26"),
            (Calendar.DAY, "Africa/Cairo", "2026-04-24T12:00", "2026-04-24T01:00", "2026-04-25"),
        ],
    )
    def test_follow_the_zone(
        self, calendar: Calendar, zone: str, now: str, begin: str, end: str
    ) -> None:
        """From midnight to midnight, from Monday to Monday, from first to first."""
        found = bounds(fixed(calendar=calendar, zone=zone), moment(now, zone))

        assert Bounds(moment(begin, zone), moment(end, zone)) == found

    @pytest.mark.parametrize(
        ("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)]
    )
    def test_are_as_long_as_they_are(self, day: str, hours: int) -> None:
        """Whoever waits for tomorrow waits an hour less when clocks go forward."""
        zone = "Europe/Berlin"
        begin, end = bounds(fixed(calendar=Calendar.DAY, zone=zone), moment(day, zone))

        assert hours * HOUR == end - begin

    @pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime"])
    def test_unknown_zones_are_refused(self, name: str) -> None:
        """By name, with what would be one."""
        mistake = mistake_in_zone(name)

        assert mistake is not None
        assert "Europe/Berlin" in mistake
        assert mistake_in_zone("America/Sao_Paulo") is None


class TestBoundary:
    def test_all_leaves_at_once(self) -> None:
        """At the first microsecond of the next window, and not before."""
        limit = fixed()
        count, full = _check(None, START, 10, limit)
        _, before = _check(count, START + HOUR - 1, 1, limit)
        _, then = _check(count, START + HOUR, 1, limit)

        assert [True, False, True] == [verdict.admits for verdict in (full, before, then)]
        assert [START + HOUR] * 2 == [before.retry_at, before.reset_at]

    def test_twice_the_limit_may_pass_around_it(self) -> None:
        """The price, which a sliding window does not have."""
        limit = fixed()
        count, first = _check(None, START + HOUR - 1, 10, limit)
        _, second = _check(count, START + HOUR, 10, limit)

        assert first.admits
        assert second.admits

    def test_a_cost_above_the_limit_never_fits(self) -> None:
        """There is no moment to come back at."""
        _, verdict = decide(None, now=START, limit=fixed(), cost=11, consume=True)

        assert (False, None) == (verdict.admits, verdict.retry_at)


class TestClockSteppingBack:
    def test_over_a_boundary_it_opens_no_window_again(self) -> None:
        """What was consumed in the new one still counts when it comes for the second time."""
        limit = fixed()
        count, _ = _check(None, START, 10, limit)
        count, behind = _check(count, START - 1, 1, limit)
        _, again = _check(count, START + 1, 1, limit)

        assert [False, False] == [behind.admits, again.admits]
        assert START + HOUR == behind.retry_at

    def test_from_far_ahead_it_counts_in_the_window_that_runs(self) -> None:
        """Its clock was wrong; waiting a year for ours would lock the subject out."""
        limit = fixed()
        count, _ = _check(None, START + 365 * DAY, 10, limit)
        healed, denied = _check(count, START, 1, limit)
        _, then = _check(healed, START + HOUR, 1, limit)

        assert [False, True] == [denied.admits, then.admits]


class TestChangedWindow:
    def test_what_was_consumed_counts_in_every_window_it_overlaps(self) -> None:
        """From an hour to a calendar's day and back."""
        hour, day = fixed(), fixed(calendar=Calendar.DAY)
        count, _ = _check(None, START, 4, hour)
        count, in_day = _check(count, START, 1, day)
        _, in_hour = _check(count, START, 1, hour)

        assert [5, 6] == [in_day.used, in_hour.used]


class TestChargesAndRefunds:
    def test_charges_go_beyond_the_limit_up_to_53_bits(self) -> None:
        """What has taken place counts."""
        count, over = charge(None, now=START, limit=fixed(), cost=11)
        _, full = charge(count, now=START, limit=fixed(), cost=MAX_FIXED_QUOTA)

        assert [(False, 11), (False, MAX_FIXED_QUOTA)] == [(v.admits, v.used) for v in (over, full)]

    @pytest.mark.parametrize(("age", "expected"), [(0, 3), (HOUR // 2, 3), (HOUR // 2 + 1, 0)])
    def test_what_was_admitted_in_an_earlier_window_has_left_with_it(
        self, age: int, expected: int
    ) -> None:
        """It would come out of what others consumed in this one."""
        now = START + HOUR // 2
        count, _ = _check(None, now, 5, fixed())
        _, amount, _ = refund(count, now=now, limit=fixed(), cost=3, admitted_at=now - age)

        assert expected == amount
