"""How observations move the state of one target."""

from services.health.state import Damping, Observation, Standing, observe
from tests.unit.health.observations import failed, passed

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

        assert standing.failed is None

    def test_failure_is_unhealthy_at_once(self) -> None:
        """A target that is dead when the service starts is reported dead by the first round."""
        standing = after(failed(1))

        assert failed(1) == standing.failed


class TestFall:
    def test_fewer_failures_than_fall_change_nothing(self) -> None:
        """Two lost probes of three are a hiccup."""
        standing = after(passed(1), failed(2), failed(3))

        assert (standing.failed, standing.against) == (None, 2)

    def test_fall_failures_in_a_row_make_unhealthy(self) -> None:
        """The third failure in a row counts, and is the one that is shown."""
        standing = after(passed(1), failed(2), failed(3), failed(4))

        assert (failed(4), 0) == (standing.failed, standing.against)

    def test_a_success_in_between_starts_the_count_again(self) -> None:
        """Only failures in a row count."""
        standing = after(passed(1), failed(2), failed(3), passed(4), failed(5), failed(6))

        assert standing.failed is None


class TestRise:
    def test_fewer_successes_than_rise_change_nothing(self) -> None:
        """One answer of a flapping target is not health; the failure stays known."""
        standing = after(failed(1), passed(2))

        assert (failed(1), 1) == (standing.failed, standing.against)

    def test_rise_successes_in_a_row_make_healthy(self) -> None:
        """The second success in a row counts."""
        standing = after(failed(1), passed(2), passed(3))

        assert standing.failed is None

    def test_a_later_failure_replaces_the_one_that_is_shown(self) -> None:
        """The newest reason is the one to look for."""
        standing = after(failed(1), failed(2))

        assert failed(2) == standing.failed


class TestSilence:
    def test_the_first_observation_after_a_silence_decides_at_once(self) -> None:
        """What was known before the silence is not worth protecting."""
        standing = after(passed(1), failed(7.1))

        assert failed(7.1) == standing.failed

    def test_up_to_the_limit_damping_goes_on(self) -> None:
        """An age of exactly stale_after is still trusted."""
        standing = after(passed(1), failed(7))

        assert standing.failed is None
