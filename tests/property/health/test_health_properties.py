"""Bounds of the roll-up and of damping that hold for every history."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.health.rollup import Check, Report, roll_up
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import Kind, Target
from tests.unit.health.observations import failed, passed

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BADNESS = [State.HEALTHY, State.DEGRADED, State.UNKNOWN, State.UNHEALTHY]
NAMES = ("cache", "database", "jobs")

states = st.sampled_from(BADNESS)
checks = st.lists(
    st.builds(
        Check,
        target=st.builds(
            Target, name=st.sampled_from(NAMES), kind=st.just(Kind.REDIS), critical=st.booleans()
        ),
        own=states,
        state=states,
    ),
    min_size=1,
    max_size=6,
)
dampings = st.builds(
    Damping, rise=st.integers(1, 4), fall=st.integers(1, 4), stale_after=st.floats(1, 10)
)
# (target, seconds since the observation before, passed)
histories = st.lists(
    st.tuples(st.sampled_from(NAMES), st.floats(0, 15), st.booleans()), max_size=40
)


def observed(history: list[tuple[str, float, bool]]) -> list[Observation]:
    now, result = 0.0, []
    for target, gap, good in history:
        now += gap
        result.append((passed if good else failed)(now, target))
    return result


def replay(seen: list[Observation], damping: Damping) -> Snapshot:
    targets = tuple(
        Target(name=name, kind=Kind.REDIS, critical=name != "database") for name in NAMES
    )
    snapshot = Snapshot.empty(targets, damping=damping, time=BEGIN)
    for each in seen:
        snapshot = snapshot.after(each)
    return snapshot


def report_of(snapshot: Snapshot, now: float) -> Report:
    return snapshot.report(now, datetime.fromtimestamp(now, UTC))


def check_of(snapshot: Snapshot, name: str, now: float) -> Check:
    check = report_of(snapshot, now).check(name)
    assert check is not None
    return check


class TestRollUp:
    @given(checks)
    def test_healthy_means_every_check_is_healthy(self, given_checks: list[Check]) -> None:
        """No unknown, degraded or unhealthy target hides in a healthy whole, and no other does."""
        expected = all(check.state is State.HEALTHY for check in given_checks)

        assert expected == (roll_up(given_checks) is State.HEALTHY)

    @given(checks)
    def test_unhealthy_means_a_critical_check_is_unhealthy(self, given_checks: list[Check]) -> None:
        """Optional targets never take the suite out of rotation."""
        expected = any(
            check.target.critical and check.state is State.UNHEALTHY for check in given_checks
        )

        assert expected == (roll_up(given_checks) is State.UNHEALTHY)

    @given(checks, st.data())
    def test_monotone(self, given_checks: list[Check], data: st.DataObject) -> None:
        """A check that gets worse never makes the whole better."""
        index = data.draw(st.integers(0, len(given_checks) - 1))
        check = given_checks[index]
        worse = data.draw(st.sampled_from(BADNESS[BADNESS.index(check.state) :]))
        changed = [*given_checks]
        changed[index] = replace(check, state=worse)

        assert BADNESS.index(roll_up(given_checks)) <= BADNESS.index(roll_up(changed))

    @given(checks, st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, given_checks: list[Check], random: Random) -> None:
        """The whole depends on what the checks say, not on who is listed first."""
        shuffled = [*given_checks]
        random.shuffle(shuffled)

        assert roll_up(given_checks) is roll_up(shuffled)


class TestHistory:
    @given(histories, dampings, st.floats(0, 30))
    def test_only_what_was_seen_lately_is_claimed(
        self, history: list[tuple[str, float, bool]], damping: Damping, wait: float
    ) -> None:
        """A target is unknown exactly when nothing, or nothing recent, was seen of it."""
        seen = observed(history)
        now = (seen[-1].at if seen else 0.0) + wait
        report = report_of(replay(seen, damping), now)
        ages = {each.target: now - each.at for each in seen}  # the last of each target remains

        for check in report.checks:
            age = ages.get(check.target.name)
            expected = age is None or age > damping.stale_after
            assert expected == (check.state is State.UNKNOWN)

    @given(histories, dampings)
    def test_a_state_changes_only_after_enough_observations_against_it(
        self, history: list[tuple[str, float, bool]], damping: Damping
    ) -> None:
        """From healthy to unhealthy takes `fall` failures in a row, back takes `rise` successes."""
        seen = [each for each in observed(history) if each.target == "cache"]
        for end in range(1, len(seen) + 1):
            before = check_of(replay(seen[: end - 1], damping), "cache", seen[end - 1].at).state
            after = check_of(replay(seen[:end], damping), "cache", seen[end - 1].at).state
            if {before, after} != {State.HEALTHY, State.UNHEALTHY}:
                continue
            bad = after is State.UNHEALTHY
            needed = damping.fall if bad else damping.rise
            in_a_row = seen[max(0, end - needed) : end]

            assert needed == len(in_a_row)
            assert {bad} == {each.state is State.UNHEALTHY for each in in_a_row}

    @given(histories, dampings, st.booleans())
    def test_enough_equal_observations_decide(
        self, history: list[tuple[str, float, bool]], damping: Damping, good: bool
    ) -> None:
        """Whatever came before, max(rise, fall) equal answers are believed."""
        seen = observed(history)
        now = seen[-1].at if seen else 0.0
        again = [(passed if good else failed)(now, "jobs")] * max(damping.rise, damping.fall)
        check = check_of(replay([*seen, *again], damping), "jobs", now)

        assert (State.HEALTHY if good else State.UNHEALTHY) is check.state

    @given(histories, dampings)
    def test_targets_do_not_touch_each_other(
        self, history: list[tuple[str, float, bool]], damping: Damping
    ) -> None:
        """What is said of one target depends on its own observations alone."""
        seen = observed(history)
        now = seen[-1].at if seen else 0.0
        alone = [each for each in seen if each.target == "cache"]

        assert check_of(replay(alone, damping), "cache", now) == check_of(
            replay(seen, damping), "cache", now
        )
