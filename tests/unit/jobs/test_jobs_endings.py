"""How a turn at a job ends and what becomes of the job."""

from collections.abc import Callable

import pytest

from services.jobs import endings
from services.jobs.endings import Ending, Lease
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

    def test_steps_to_undo(self) -> None:
        """The final failure of a job with steps to undo has them undone before it is over."""
        ending = endings.failed(
            lease(begun=3), FAILURE, asked_wait=None, random=1.0, undoable=True, sequence=1
        )

        assert (JobState.ROLLING_BACK, JobState.DEAD_LETTERED, FAILURE, True) == (
            ending.state,
            ending.rollback_outcome,
            ending.failure,
            ending.ready,
        )

    def test_steps_to_undo_later(self) -> None:
        """As long as attempts are left, nothing is undone."""
        ending = endings.failed(
            lease(), FAILURE, asked_wait=None, random=1.0, undoable=True, sequence=1
        )

        assert (JobState.RETRYING, None) == (ending.state, ending.rollback_outcome)

    def test_by_nobody(self) -> None:
        """A turn that took too long fails without a report."""
        ending = endings.failed(lease(), FAILURE, asked_wait=None, random=1.0)

        assert (JobState.RETRYING, None) == (ending.state, ending.sequence)


class TestReleased:
    def test_no_attempt_burnt(self) -> None:
        """A job that was given back has its attempt back."""
        ending = endings.released(lease())

        assert (JobState.QUEUED, 1, 0) == (
            ending.state,
            ending.attempts_given_back,
            ending.crashes,
        )

    def test_resumed(self) -> None:
        """A turn that began no attempt gives none back: the job waits again, for a worker."""
        ending = endings.released(lease(resumed=True))

        assert (JobState.WAITING, 0, True) == (
            ending.state,
            ending.attempts_given_back,
            ending.ready,
        )

    def test_undoing(self) -> None:
        """A turn at undoing that was given back does not count either."""
        turn = lease(rollback=True, rollback_attempt=2, rollback_outcome=JobState.CANCELLED)

        ending = endings.released(turn)

        assert (JobState.ROLLING_BACK, 1, 0, True) == (
            ending.state,
            ending.rollback_attempt,
            ending.attempts_given_back,
            ending.ready,
        )


class TestSuspended:
    @pytest.mark.parametrize("woken", [True, False])
    def test_parked(self, woken: bool) -> None:
        """A job that waits is nobody's until something has come, which may be already."""
        ending = endings.suspended(lease(), woken=woken, sequence=1)

        assert (JobState.WAITING, 0, woken) == (
            ending.state,
            ending.attempts_given_back,
            ending.ready,
        )


class TestUndone:
    @pytest.mark.parametrize("outcome", [JobState.DEAD_LETTERED, JobState.CANCELLED])
    def test_all(self, outcome: JobState) -> None:
        """A job whose steps are undone goes where it was to go."""
        turn = lease(rollback=True, rollback_attempt=1, rollback_outcome=outcome)

        assert outcome is endings.undone(turn, left=0, random=0.5, sequence=1).state

    def test_not_all(self) -> None:
        """Of a worker that is done before everything is, the turn has failed."""
        turn = lease(rollback=True, rollback_attempt=1, rollback_outcome=JobState.CANCELLED)

        ending = endings.undone(turn, left=2, random=1.0, sequence=1)

        assert (JobState.ROLLING_BACK, 1.0) == (ending.state, ending.wait)
        assert ending.rollback_failure is not None
        assert "2 steps are left" in ending.rollback_failure.message

    @pytest.mark.parametrize(
        ("attempt", "permanent", "expected"),
        [
            (1, False, JobState.ROLLING_BACK),
            (2, False, JobState.ROLLING_BACK),
            (3, False, JobState.DEAD_LETTERED),
            (1, True, JobState.DEAD_LETTERED),
        ],
    )
    def test_failing(self, attempt: int, permanent: bool, expected: JobState) -> None:
        """Undoing is tried as often as the function; then the job is stuck and says why."""
        turn = lease(
            rollback=True, rollback_attempt=attempt, rollback_outcome=JobState.DEAD_LETTERED
        )
        failure = Failure(kind="E", message="cannot refund", permanent=permanent)

        ending = endings.failed(turn, failure, asked_wait=None, random=1.0, sequence=1)

        assert (expected, failure, None) == (
            ending.state,
            ending.rollback_failure,
            ending.failure,
        )


class TestCancelled:
    @pytest.mark.parametrize(
        "end",
        [
            lambda turn: endings.released(turn, sequence=1),
            endings.released,
            lambda turn: endings.suspended(turn, woken=False, sequence=1),
            lambda turn: endings.failed(turn, FAILURE, asked_wait=None, random=0.5, sequence=1),
            lambda turn: endings.lost(turn, max_crashes=5, random=0.5),
        ],
        ids=["stopped", "given back", "suspended", "failed", "lost"],
    )
    def test_however_it_stops(self, end: Callable[[Lease], Ending]) -> None:
        """Whatever ends a turn at a job that is to end, the job is cancelled."""
        assert JobState.CANCELLED is end(lease(cancel_rollback=False)).state

    def test_too_late(self) -> None:
        """A function that has returned was not cancelled."""
        ending = endings.succeeded(lease(cancel_rollback=False), "1", sequence=1)

        assert JobState.SUCCEEDED is ending.state

    @pytest.mark.parametrize(
        ("wanted", "undoable", "expected"),
        [
            (True, True, JobState.ROLLING_BACK),
            (True, False, JobState.CANCELLED),
            (False, True, JobState.CANCELLED),
        ],
    )
    def test_rollback(self, wanted: bool, undoable: bool, expected: JobState) -> None:
        """Steps are undone before where that was asked for and there are any."""
        ending = endings.released(lease(cancel_rollback=wanted), undoable=undoable, sequence=1)

        assert expected is ending.state

    def test_undoing_goes_on(self) -> None:
        """A job that is being undone goes on with that."""
        turn = lease(
            rollback=True,
            rollback_attempt=1,
            rollback_outcome=JobState.CANCELLED,
            cancel_rollback=False,
        )

        assert JobState.ROLLING_BACK is endings.released(turn).state


class TestLost:
    def test_counted_apart(self) -> None:
        """A lost worker counts as a crash and not as a failure, and the job is ready at once."""
        ending = endings.lost(lease(allowed=1), max_crashes=5, random=0.5)

        assert (JobState.RETRYING, 1, 0, 0.0) == (
            ending.state,
            ending.crashes,
            ending.attempts_given_back,
            ending.wait,
        )

    def test_suspects_part(self) -> None:
        """Who has lost workers before waits, each for a time of its own, longer each time."""
        waits = [
            endings.lost(
                lease(begun=crashed + 1, crashed=crashed), max_crashes=9, random=random
            ).wait
            for crashed in (1, 2, 3)
            for random in (0.0, 1.0)
        ]

        assert [0.25, 0.5, 0.5, 1.0, 1.0, 2.0] == waits

    def test_poison(self) -> None:
        """A job that loses its last worker says that it seems to be the cause."""
        ending = endings.lost(lease(begun=5, crashed=4), max_crashes=5, random=0.5)

        assert JobState.DEAD_LETTERED is ending.state
        assert ending.failure is not None
        assert ending.failure.kind == "WorkerLost"
        assert "5 workers were lost" in ending.failure.message

    def test_undoing(self) -> None:
        """A worker that is lost while it undoes steps is followed by another at once."""
        turn = lease(rollback=True, rollback_attempt=1, rollback_outcome=JobState.CANCELLED)

        ending = endings.lost(turn, max_crashes=5, random=0.5)

        assert (JobState.ROLLING_BACK, 1, 0, True) == (
            ending.state,
            ending.crashes,
            ending.rollback_attempt,
            ending.ready,
        )

    def test_undoing_is_poison(self) -> None:
        """Undoing that takes worker after worker gets stuck."""
        turn = lease(begun=5, crashed=4, rollback=True, rollback_outcome=JobState.CANCELLED)

        ending = endings.lost(turn, max_crashes=5, random=0.5)

        assert JobState.DEAD_LETTERED is ending.state
        assert ending.rollback_failure is not None
        assert ending.rollback_failure.kind == "WorkerLost"
