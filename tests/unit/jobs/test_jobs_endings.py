"""How a turn at a job ends and what becomes of the job."""

from services.jobs import endings
from services.jobs.job import Failure
from services.jobs.states import JobState
from tests.unit.jobs.job_values import lease

FAILURE = Failure(kind="ValueError", message="no good")


class TestFailed:
    def test_backoff(self) -> None:
        """The wait is the function's backoff after its failures, crashes not counted."""
        turn = lease(begun=3, crashed=1, allowed=9)

        ending = endings.failed(turn, FAILURE, asked_wait=None, random=1.0, sequence=4)

        assert (JobState.RETRYING, 2.0, 4) == (ending.state, ending.wait, ending.sequence)

    def test_wait_of_its_own(self) -> None:
        """A function may ask for another wait."""
        ending = endings.failed(lease(), FAILURE, asked_wait=42.0, random=1.0, sequence=1)

        assert ending.wait == 42.0

    def test_bounds(self) -> None:
        """What a function asks for is at least nothing and at most thirty days."""
        waits = [
            endings.failed(lease(), FAILURE, asked_wait=asked, random=0.0, sequence=1).wait
            for asked in (-5.0, 1e12)
        ]

        assert [0.0, 30 * 24 * 3600.0] == waits

    def test_permanent(self) -> None:
        """A failure that no retry can heal makes a dead letter."""
        failure = Failure(kind="ValueError", message="no good", permanent=True)

        ending = endings.failed(lease(), failure, asked_wait=1.0, random=0.0, sequence=1)

        assert JobState.DEAD_LETTERED is ending.state


class TestReleased:
    def test_no_attempt_burnt(self) -> None:
        """A job that was given back has its attempt back."""
        ending = endings.released(lease())

        assert (JobState.QUEUED, 1, 0) == (
            ending.state,
            ending.attempts_given_back,
            ending.crashes,
        )


class TestLost:
    def test_counted_apart(self) -> None:
        """A lost worker counts as a crash and not as a failure, and the job is ready at once."""
        ending = endings.lost(lease(allowed=1), max_crashes=5)

        assert (JobState.RETRYING, 1, 0, 0.0) == (
            ending.state,
            ending.crashes,
            ending.attempts_given_back,
            ending.wait,
        )

    def test_poison(self) -> None:
        """A job that loses its last worker says that it seems to be the cause."""
        ending = endings.lost(lease(begun=5, crashed=4), max_crashes=5)

        assert JobState.DEAD_LETTERED is ending.state
        assert ending.failure is not None
        assert ending.failure.kind == "WorkerLost"
        assert "5 workers were lost" in ending.failure.message
