"""How observations move the state of one target."""

from services.health.state import Damping, Observation, Standing, State, observe
from tests.unit.health.observations import failed, passed, warned

DAMPING = Damping(rise=2, fall=3, stale_after=6.0)


def after(*seen: Observation) -> Standing:
    standing: Standing | None = None
    for observation in seen:
        standing = observe(standing, observation, DAMPING)
    assert standing is not None
    return standing


class TestFirstObservation:
    def test_success_is_healthy_at_once(self) -> None:
        """Nothing was known, so there is nothing to damp."""
        standing = after(passed(1))

        assert State.HEALTHY is standing.state

    def test_failure_is_unhealthy_at_once(self) -> None:
        """A target that is dead when the service starts is reported dead by the first round."""
        standing = after(failed(1))

        assert failed(1) == standing.held


class TestFall:
    def test_fewer_failures_than_fall_change_nothing(self) -> None:
        """Two lost probes of three are a hiccup."""
        standing = after(passed(1), failed(2), failed(3))

        assert (standing.state, standing.against) == (State.HEALTHY, 2)

    def test_fall_failures_in_a_row_make_unhealthy(self) -> None:
        """The third failure in a row counts, and is the one that is shown."""
        standing = after(passed(1), failed(2), failed(3), failed(4))

        assert (failed(4), 0) == (standing.held, standing.against)

    def test_a_success_in_between_starts_the_count_again(self) -> None:
        """Only failures in a row count."""
        standing = after(passed(1), failed(2), failed(3), passed(4), failed(5), failed(6))

        assert State.HEALTHY is standing.state


class TestRise:
    def test_fewer_successes_than_rise_change_nothing(self) -> None:
        """One answer of a flapping target is not health; the failure stays known."""
        standing = after(failed(1), passed(2))

        assert (failed(1), 1) == (standing.held, standing.against)

    def test_rise_successes_in_a_row_make_healthy(self) -> None:
        """The second success in a row counts."""
        standing = after(failed(1), passed(2), passed(3))

        assert State.HEALTHY is standing.state

    def test_a_later_failure_replaces_the_one_that_is_shown(self) -> None:
        """The newest reason is the one to look for."""
        standing = after(failed(1), failed(2))

        assert failed(2) == standing.held


class TestDegraded:
    def test_one_warning_of_a_healthy_target_changes_nothing(self) -> None:
        """It is damped as a failure is."""
        standing = after(passed(1), warned(2))

        assert State.HEALTHY is standing.state

    def test_warnings_in_a_row_make_degraded(self) -> None:
        """What needs care is neither well nor dead."""
        standing = after(passed(1), warned(2), warned(3), warned(4))

        assert State.DEGRADED is standing.state

    def test_a_mixed_streak_becomes_what_was_seen_last(self) -> None:
        """All three were worse than healthy; how bad it is now the last one knows."""
        standing = after(passed(1), warned(2), warned(3), failed(4))

        assert State.UNHEALTHY is standing.state

    def test_from_dead_to_degraded_is_a_rise(self) -> None:
        """It answers again: two of these are enough."""
        standing = after(failed(1), warned(2), warned(3))

        assert State.DEGRADED is standing.state

    def test_streaks_of_opposite_directions_do_not_add_up(self) -> None:
        """Of a degraded target, one failure and one success say nothing together."""
        standing = after(warned(1), failed(2), failed(3), passed(4))

        assert (standing.state, standing.against) == (State.DEGRADED, 1)


class TestSince:
    def test_it_is_the_time_of_the_probe_that_changed_the_state(self) -> None:
        """An incident begins when the state does, and goes on while it is confirmed."""
        standing = after(passed(1), failed(2), failed(3), failed(4), failed(5))

        assert failed(4).time == standing.since


class TestSilence:
    def test_the_first_observation_after_a_silence_decides_at_once(self) -> None:
        """What was known before the silence is not worth protecting."""
        standing = after(passed(1), failed(7.1))

        assert failed(7.1) == standing.held

    def test_up_to_the_limit_damping_goes_on(self) -> None:
        """An age of exactly stale_after is still trusted."""
        standing = after(passed(1), failed(7))

        assert State.HEALTHY is standing.state
