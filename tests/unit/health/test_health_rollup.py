"""From checks to the state of the whole, and what a report says of each target."""

from datetime import UTC, datetime

import pytest

from services.health.rollup import Check, Report, examine, roll_up
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import Kind, Target
from tests.unit.health.observations import failed, passed

DAMPING = Damping(rise=2, fall=2, stale_after=6.0)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CACHE = Target(name="cache", kind=Kind.REDIS, critical=True)
REDIS = Target(name="redis", kind=Kind.REDIS)


def snapshot(*seen: Observation) -> Snapshot:
    result = Snapshot.empty((REDIS, CACHE), damping=DAMPING, time=BEGIN)
    for observation in seen:
        result = result.after(observation)
    return result


def report_of(snapshot: Snapshot, now: float) -> Report:
    return snapshot.report(now, datetime.fromtimestamp(now, UTC))


def check_of(snapshot: Snapshot, now: float) -> Check:
    check = report_of(snapshot, now).check("cache")
    assert check is not None
    return check


def check(target: Target, state: State) -> Check:
    return Check(target=target, own=state, state=state)


class TestRollUp:
    @pytest.mark.parametrize(
        ("critical", "optional", "whole"),
        [
            (State.HEALTHY, State.HEALTHY, State.HEALTHY),
            (State.HEALTHY, State.DEGRADED, State.DEGRADED),
            (State.HEALTHY, State.UNKNOWN, State.DEGRADED),
            (State.HEALTHY, State.UNHEALTHY, State.DEGRADED),
            (State.DEGRADED, State.HEALTHY, State.DEGRADED),
            (State.DEGRADED, State.UNHEALTHY, State.DEGRADED),
            (State.UNKNOWN, State.HEALTHY, State.UNKNOWN),
            (State.UNKNOWN, State.UNHEALTHY, State.UNKNOWN),
            (State.UNHEALTHY, State.HEALTHY, State.UNHEALTHY),
            (State.UNHEALTHY, State.UNKNOWN, State.UNHEALTHY),
            (State.UNHEALTHY, State.UNHEALTHY, State.UNHEALTHY),
            (State.MAINTENANCE, State.HEALTHY, State.HEALTHY),
            (State.MAINTENANCE, State.UNHEALTHY, State.DEGRADED),
        ],
    )
    def test_table(self, critical: State, optional: State, whole: State) -> None:
        """A critical target counts in full, an optional one as degraded at worst."""
        checks = [check(CACHE, critical), check(REDIS, optional)]

        assert whole is roll_up(checks)

    def test_nothing_is_known_of_nothing(self) -> None:
        """An empty report is no good news."""
        assert State.UNKNOWN is roll_up([])


class TestSnapshot:
    def test_checks_are_ordered_by_name(self) -> None:
        """Two reports can be compared line by line."""
        names = [check.target.name for check in report_of(snapshot(), 0).checks]

        assert names == ["cache", "redis"]

    def test_before_the_first_probe_all_is_unknown(self) -> None:
        """A service that has just begun claims nothing."""
        assert State.UNKNOWN is report_of(snapshot(), 0).state

    def test_one_result_counts_before_the_others_are_in(self) -> None:
        """A target that hangs does not hold back what is known of the others."""
        report = report_of(snapshot(failed(1)), 1)

        assert State.UNHEALTHY is report.state

    def test_time_is_that_of_the_newest_observation(self) -> None:
        """An answer shows how old its knowledge is."""
        report = report_of(snapshot(passed(1), passed(2, "redis")), 2)

        assert datetime.fromtimestamp(2, UTC) == report.time


class TestStaleness:
    def test_up_to_the_limit_an_answer_is_trusted(self) -> None:
        """An age of exactly stale_after is still good."""
        report = report_of(snapshot(passed(1), passed(1, "redis")), 7)

        assert State.HEALTHY is report.state

    def test_beyond_the_limit_it_is_unknown(self) -> None:
        """If probing stopped, the report turns by itself: an old answer is not a healthy one."""
        report = report_of(snapshot(passed(1), passed(1, "redis")), 7.5)

        assert State.UNKNOWN is report.state
        assert {State.UNKNOWN} == {check.state for check in report.checks}

    def test_an_old_failure_is_unknown_too(self) -> None:
        """Nobody knows whether the target has come back."""
        seen = check_of(snapshot(failed(1)), 7.5)

        assert State.UNKNOWN is seen.state
        assert (
            seen.message == "The last probe ended 6.5 s ago; after 6 s its answer is not trusted."
        )

    def test_it_is_judged_for_each_target(self) -> None:
        """One probe that stopped does not hide behind the others."""
        report = report_of(snapshot(passed(1, "redis"), passed(5)), 8)

        assert (
            report.state,
            [check.state.value for check in report.checks],
        ) == (State.DEGRADED, ["healthy", "unknown"])


class TestMessage:
    def test_a_healthy_target_has_none(self) -> None:
        """Not even while a failure is being damped."""
        seen = check_of(snapshot(passed(1), failed(2)), 2)

        assert (seen.state, seen.message) == (State.HEALTHY, "")

    def test_an_unhealthy_target_says_why(self) -> None:
        """The sentence is the probe's."""
        seen = check_of(snapshot(failed(1)), 1)

        assert (seen.state, seen.message) == (State.UNHEALTHY, "Refused the connection.")

    def test_a_recovering_target_says_how_far_it_is(self) -> None:
        """Who waits for green sees that it is coming."""
        seen = check_of(snapshot(failed(1), passed(2)), 2)

        assert seen.message == "Refused the connection. Recovering: 1 of 2 probes passed since."

    def test_the_last_probe_is_shown(self) -> None:
        """Its request id leads to the log lines of the target."""
        unprobed = examine(CACHE, None, DAMPING, now=0)
        probed = check_of(snapshot(passed(1)), 1)

        assert unprobed.last is None
        assert passed(1) == probed.last
