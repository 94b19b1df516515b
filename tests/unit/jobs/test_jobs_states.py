"""The life of a job, as a table."""

from itertools import product

import pytest

from services.jobs.states import (
    TRANSITIONS,
    Attempts,
    JobState,
    after_crash,
    after_failure,
    after_release,
)

QUEUED, RUNNING, RETRYING, WAITING, ROLLING, SUCCEEDED, DEAD, CANCELLED, DISCARDED = JobState

WAITS = {QUEUED, RETRYING, WAITING}
OVER = {SUCCEEDED, DEAD, CANCELLED, DISCARDED}


class TestTransitions:
    @pytest.mark.parametrize(
        ("start", "end"), list(product(JobState, JobState)), ids=lambda state: state.name
    )
    def test_every_pair(self, start: JobState, end: JobState) -> None:
        """A job waits, runs, waits again, is undone, and ends; nothing else is legal."""
        legal = (
            (start in WAITS and end is RUNNING)
            or (start is RUNNING and end in {*WAITS, SUCCEEDED})
            # Whatever is not over may fail or be cancelled, what has begun after undoing.
            or (start not in OVER and end in {DEAD, CANCELLED})
            or (start in {*WAITS, RUNNING, DEAD} and end is ROLLING)
            or (start is DEAD and end in {RETRYING, DISCARDED})
        )

        assert legal == (end in TRANSITIONS[start])

    @pytest.mark.parametrize("state", JobState)
    def test_over(self, state: JobState) -> None:
        """What ended, well or badly, is over."""
        expected = state in OVER

        assert expected == state.is_over


class TestAfterFailure:
    @pytest.mark.parametrize(
        ("begun", "crashed", "allowed", "permanent", "expected"),
        [
            (1, 0, 3, False, RETRYING),
            (2, 0, 3, False, RETRYING),
            (3, 0, 3, False, DEAD),
            (1, 0, 1, False, DEAD),
            (1, 0, 3, True, DEAD),
            # Two of three attempts lost their worker: only one has failed.
            (3, 2, 3, False, RETRYING),
            (5, 2, 3, False, DEAD),
        ],
    )
    def test_table(
        self, begun: int, crashed: int, allowed: int, permanent: bool, expected: JobState
    ) -> None:
        """Attempts that are left are used; crashes use up none; what is permanent ends at once."""
        attempts = Attempts(begun=begun, crashed=crashed, allowed=allowed)

        assert expected is after_failure(attempts, permanent=permanent)


class TestAfterRelease:
    @pytest.mark.parametrize(("begun", "expected"), [(1, QUEUED), (2, RETRYING), (7, RETRYING)])
    def test_table(self, begun: int, expected: JobState) -> None:
        """A job goes back to where it was before the attempt."""
        attempts = Attempts(begun=begun, crashed=0, allowed=3)

        assert expected is after_release(attempts, steps=False)

    def test_steps(self) -> None:
        """One that has finished steps has begun, also when it was given back at once."""
        attempts = Attempts(begun=1, crashed=0, allowed=3)

        assert RETRYING is after_release(attempts, steps=True)


class TestAfterCrash:
    @pytest.mark.parametrize(
        ("crashed", "max_crashes", "expected"),
        [(0, 5, RETRYING), (3, 5, RETRYING), (4, 5, DEAD), (0, 1, DEAD)],
    )
    def test_table(self, crashed: int, max_crashes: int, expected: JobState) -> None:
        """The last worker that a job may lose makes it a dead letter."""
        attempts = Attempts(begun=crashed + 1, crashed=crashed, allowed=1)

        assert expected is after_crash(attempts, max_crashes=max_crashes)
