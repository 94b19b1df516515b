"""Whatever happens to a job, its counters and states stay within their bounds."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.jobs import endings
from services.jobs.endings import Ending
from services.jobs.job import Failure
from services.jobs.states import TRANSITIONS, JobState
from tests.unit.jobs.job_values import lease

FATES = st.lists(st.sampled_from(["fails", "fails for good", "crashes", "is given back"]))
FAILURE = Failure(kind="E", message="")
FOR_GOOD = Failure(kind="E", message="", permanent=True)


@dataclass(slots=True)
class Row:
    """A job as the database keeps it."""

    allowed: int
    state: JobState = JobState.QUEUED
    attempt: int = 0
    crashes: int = 0
    failures: int = 0

    def end(self, fate: str, max_crashes: int) -> Ending:
        """Begin an attempt and let it end."""
        self.move(JobState.RUNNING)
        self.attempt += 1
        turn = lease(begun=self.attempt, crashed=self.crashes, allowed=self.allowed)
        match fate:
            case "crashes":
                ending = endings.lost(turn, max_crashes=max_crashes)
            case "is given back":
                ending = endings.released(turn)
            case _:
                self.failures += 1
                failure = FAILURE if fate == "fails" else FOR_GOOD
                ending = endings.failed(turn, failure, asked_wait=None, random=0.5, sequence=1)
        self.attempt -= ending.attempts_given_back
        self.crashes += ending.crashes
        self.move(ending.state)
        return ending

    def move(self, state: JobState) -> None:
        """Go on, legally."""
        assert state in TRANSITIONS[self.state]
        self.state = state


class TestAnyLife:
    @given(fates=FATES, allowed=st.integers(1, 5), max_crashes=st.integers(1, 4))
    def test_bounds(self, fates: list[str], allowed: int, max_crashes: int) -> None:
        """A job fails and crashes as often as it may and no more, and gives no attempt away."""
        row = Row(allowed=allowed)
        for fate in fates:
            if row.state.is_over:
                break
            row.end(fate, max_crashes)

            assert 0 <= row.attempt <= allowed + row.crashes
            assert row.attempt == row.failures + row.crashes
            assert row.failures <= allowed
            assert row.crashes <= max_crashes
            assert row.state is not JobState.QUEUED or row.attempt == 0

    @given(fates=FATES, allowed=st.integers(1, 5), max_crashes=st.integers(1, 4))
    def test_ends_in_time(self, fates: list[str], allowed: int, max_crashes: int) -> None:
        """A job is a dead letter with its last failure or crash, and not before."""
        row = Row(allowed=allowed)
        for fate in fates:
            if row.state.is_over:
                break
            row.end(fate, max_crashes)
            final = (
                fate == "fails for good" or row.failures == allowed or row.crashes == max_crashes
            ) and fate != "is given back"

            assert final == (row.state is JobState.DEAD_LETTERED)
