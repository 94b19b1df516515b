"""What the status page says, before it is HTML."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.health import page_past
from services.health import page_view as view
from services.health.history import DAYS_KEPT, Day
from services.health.maintenance import Mode
from services.health.page_view import Row
from services.health.rollup import Report
from services.health.state import State
from services.health.target import SUITE
from tests.unit.health.status_samples import (
    LOST,
    NOON,
    history,
    incidents,
    latencies,
    maintenance,
    report,
    snapshot,
)

DATABASE_DOWN = {"database": (State.UNHEALTHY, LOST)}
REPLICA = "cache/192.0.2.12:50051"


def row(of: Report, name: str, *, details: bool = False) -> Row:
    return next(row for row in view.see(of, NOON, details=details).rows if row.name == name)


class TestOverall:
    def test_all_is_well_since_the_last_that_recovered(self) -> None:
        """The headline says so in words, and nothing else is said."""
        overall = view.see(report(), NOON, details=False).overall

        assert ("All systems are healthy", "", "16 Mar 07:00 UTC", ()) == (
            overall.headline,
            overall.summary,
            overall.since and overall.since.text,
            overall.notices,
        )

    def test_the_public_reads_the_name_of_the_cause_alone(self) -> None:
        """What a probe said is a detail."""
        overall = view.see(report(DATABASE_DOWN), NOON, details=False).overall

        assert "The suite is degraded because of database." == overall.summary

    def test_the_cause_is_named(self) -> None:
        """What failed by itself is in the summary, and since when."""
        overall = view.see(report(DATABASE_DOWN), NOON, details=True).overall

        assert (
            State.DEGRADED,
            "The suite is degraded because of database (unhealthy: Did not answer within 1 s).",
            "today 11:46 UTC",
        ) == (overall.badge.state, overall.summary, overall.since and overall.since.text)

    def test_what_is_out_of_service_on_purpose_is_not_blamed(self) -> None:
        """The notice tells of it; the summary is about what failed."""
        planned = maintenance("archive", "Moving to a larger disk.")
        overall = view.see(report(DATABASE_DOWN, [planned]), NOON, details=False).overall

        assert "archive" not in overall.summary

    def test_old_knowledge_is_unknown(self) -> None:
        """When the probes have stopped, the page says that nothing is known."""
        later = NOON + timedelta(minutes=1)
        aged = snapshot().report(later.timestamp(), later)
        seen = view.see(aged, later, details=False)

        assert ("State unknown", "12:00:02 UTC") == (seen.overall.headline, seen.as_of.text)
        assert {State.UNKNOWN} == {row.badge.state for row in seen.rows}

    @pytest.mark.parametrize(("mode", "draining"), [(Mode.DRAIN, True), (Mode.MAINTENANCE, False)])
    def test_a_maintenance_is_announced(self, mode: Mode, draining: bool) -> None:
        """Who, how, until when and why."""
        planned = maintenance("jobs", "Moving to larger machines.", mode)
        (notice,) = view.see(report({}, [planned]), NOON, details=False).overall.notices

        assert ("jobs", draining, "today 12:45 UTC", "Moving to larger machines.") == (
            notice.name,
            notice.draining,
            notice.until.text,
            notice.reason,
        )

    def test_a_maintenance_of_the_whole_is_announced_once(self) -> None:
        """And not once more for every target in it."""
        planned = maintenance(SUITE, "New network.")
        overall = view.see(report({}, [planned]), NOON, details=True).overall

        assert ("In maintenance", ["The suite"]) == (
            overall.headline,
            [notice.name for notice in overall.notices],
        )


class TestRows:
    def test_services_come_first(self) -> None:
        """Then what they stand on, each group by name."""
        seen = view.see(report(), NOON, details=False)

        names = [row.name for row in seen.rows]
        assert ["cache", "gateway", "jobs", "ratelimit"] == names[: seen.services]
        assert sorted(names[seen.services :]) == names[seen.services :]

    def test_degraded_because_of_what_it_needs(self) -> None:
        """A target that is well by itself names the one that is not."""
        jobs = row(report(DATABASE_DOWN), "jobs", details=True)

        assert (State.DEGRADED, "Because of database: Did not answer within 1 s.") == (
            jobs.badge.state,
            jobs.message,
        )

    def test_a_cause_beside_its_own_failure(self) -> None:
        """What failed by itself says why, and names what else is wrong below it."""
        failing = {**DATABASE_DOWN, "disk": (State.DEGRADED, "8 % of the disk are free.")}

        assert "Did not answer within 1 s. It also needs disk, which failed too." == (
            row(report(failing), "database", details=True).message
        )

    def test_what_probes_said_is_for_those_who_may_see_details(self) -> None:
        """The public reads the states, and where a trouble comes from."""
        down = report(DATABASE_DOWN)

        assert ("Because of database.", "") == (
            row(down, "jobs").message,
            row(down, "database").message,
        )

    def test_draining_has_a_word_of_its_own(self) -> None:
        """It still finishes what it has: that is not out of service yet."""
        draining = report({}, [maintenance("jobs", "Moving.", Mode.DRAIN)])

        assert "Draining" == row(draining, "jobs").badge.word


class TestDetails:
    def test_the_public_sees_neither_replicas_nor_request_ids(self) -> None:
        """They are left out before any template could show them."""
        failing = {**DATABASE_DOWN, REPLICA: (State.UNHEALTHY, LOST)}
        planned = maintenance(REPLICA, "Replacing it.")
        current = report(failing, [planned])
        shown = view.see(current, NOON, details=False)
        past = view.occurrences(
            [replace(each, target=REPLICA) for each in incidents()], current, NOON, details=False
        )

        assert "192.0.2" not in repr((shown, past))
        assert "0199f1a2" not in repr((shown, past))

    def test_who_may_see_them_sees_both(self) -> None:
        """Replicas by address, and the request id of the probe that found what is wrong."""
        cache = row(report({REPLICA: (State.UNHEALTHY, LOST)}), "cache", details=True)

        assert ["192.0.2.11:50051", "192.0.2.12:50051"] == [each.name for each in cache.replicas]
        assert cache.request_id == cache.replicas[1].request_id


class TestDays:
    def test_there_is_a_bar_for_every_day(self) -> None:
        """Of days before the first that was recorded, nothing is known."""
        bars = page_past.past(history("cache", days=10), NOON).bars

        assert (DAYS_KEPT, ["none"] * 80) == (len(bars), [bar.kind for bar in bars[:80]])
        assert ("19 Dec 2025: unknown", "18 Mar: 100%") == (bars[0].text, bars[-1].text)

    def test_a_bad_day_says_how_bad(self) -> None:
        """In words, beside the colour and the height."""
        midnight = NOON.replace(hour=0, minute=0, second=0)
        bad = Day(
            start_time=midnight - timedelta(days=1),
            ratio=0.99,
            downtime=timedelta(minutes=14),
            degraded=True,
        )
        past = page_past.past(replace(history("cache"), days=(bad,)), NOON)

        expected = "17 Mar: 99.00%, down for 14 min, degraded at times"
        assert [expected] == [bar.text for bar in past.bad_days]
        assert "The last 90 days: 1 with downtime, 89 unknown." == past.label

    def test_without_a_history_nothing_is_claimed(self) -> None:
        """While the database is away the page is there, and its past is not."""
        past = page_past.past(None, NOON)

        assert ({"none"}, ()) == ({bar.kind for bar in past.bars}, past.figures)

    def test_a_budget_that_is_spent_says_by_how_much(self) -> None:
        """The figure below zero is a duration too."""
        spent = history("cache")
        budget = replace(spent.error_budget, used=spent.error_budget.allowed + timedelta(minutes=3))
        figures = page_past.past(replace(spent, error_budget=budget), NOON).figures

        assert "none, 3 min over" == figures[-1].value


class TestPace:
    def test_the_line_breaks_where_nothing_is_known(self) -> None:
        """A gap is a gap and not a straight line across it."""
        check = report().check("redis")
        assert check is not None
        hour = [0.001, 0.002, None, 0.001]

        assert "M1 12h0L40 2M119 12h0" == page_past.pace(check, hour).line

    def test_of_an_hour_without_probes_there_is_no_line(self) -> None:
        """And the label says why."""
        check = report().check("redis")
        assert check is not None
        pace = page_past.pace(check, [None] * 60)

        assert ("", "No latency is known of the last hour.") == (pace.line, pace.label)

    def test_the_label_has_the_bounds(self) -> None:
        """Who does not see the line reads the fastest and the slowest minute."""
        check = report().check("redis")
        assert check is not None
        label = page_past.pace(check, latencies("redis")).label

        assert label.startswith("Latency in the last hour: ")


class TestIncidents:
    def test_twenty_are_shown(self) -> None:
        """The newest, however many there are."""
        many = [
            replace(each, incident_id=f"{each.incident_id}-{number}", because=(each.target,))
            for number in range(2)
            for each in incidents()
        ]

        assert 20 == len(view.occurrences(many, report(), NOON, details=False))

    def test_what_one_hit_stands_with_it(self) -> None:
        """The database and whoever needs it are one outage."""
        first = view.occurrences(incidents(), report(), NOON, details=False)[0]

        assert ("database", ("The suite",)) == (first.name, first.hit)

    @pytest.mark.parametrize(
        ("later", "expected"), [(timedelta(), "14 min"), (timedelta(seconds=59), "14 min")]
    )
    def test_one_that_lasts_is_told_by_the_minute(self, later: timedelta, expected: str) -> None:
        """Or every second would bring every reader a new page."""
        now: datetime = NOON + later
        first = view.occurrences(incidents(), report(), now, details=False)[0]

        assert (True, expected) == (first.ongoing, first.lasted)
