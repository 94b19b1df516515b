"""Whatever happens to a job, its counters and states stay within their bounds."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from services.jobs import endings
from services.jobs.endings import Ending, Lease
from services.jobs.job import Failure
from services.jobs.states import TRANSITIONS, JobState
from tests.unit.jobs.job_values import lease

RUNS = ["fails", "fails for good", "crashes", "is given back", "waits", "is woken at once"]
FATES = st.lists(
    st.sampled_from([*RUNS, "does a step", "somebody cancels", "somebody cancels all"])
)
UNDOING = st.lists(st.sampled_from(["undoes one", "fails", "crashes", "is given back", "is done"]))
FAILURE = Failure(kind="E", message="")
FOR_GOOD = Failure(kind="E", message="", permanent=True)


@dataclass(slots=True)
class Row:
    """A job as the database keeps it."""

    allowed: int
    max_crashes: int
    state: JobState = JobState.QUEUED
    attempt: int = 0
    crashes: int = 0
    failures: int = 0
    begun: int = 0
    parked: bool = False
    cancel_rollback: bool | None = None
    steps: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    outcome: JobState | None = None
    rollback_attempt: int = 0
    undoing_failures: int = 0
    numbers: int = 0

    def live(self, fate: str) -> None:
        """Let something happen to a job that is not over."""
        match fate:
            case "does a step":
                self.numbers += 1
                self.steps.append(self.numbers)
            case "somebody cancels":
                self.cancel_rollback = self.cancel_rollback or False
            case "somebody cancels all":
                self.cancel_rollback = True
            case _:
                self.close(self._end(fate))

    def _end(self, fate: str) -> Ending:
        turn, undoable = self._claim(), bool(self.steps)
        match fate:
            case "crashes":
                return endings.lost(
                    turn, max_crashes=self.max_crashes, random=0.5, undoable=undoable
                )
            case "is given back":
                return endings.released(turn, undoable=undoable)
            case "waits":
                return endings.suspended(turn, woken=False, undoable=undoable, sequence=1)
            case "is woken at once":
                return endings.suspended(turn, woken=True, undoable=undoable, sequence=1)
            case _:
                failure = FAILURE if fate == "fails" else FOR_GOOD
                return endings.failed(turn, failure, asked_wait=None, random=0.5, undoable=undoable)

    def undo(self, fate: str) -> None:
        """Let a turn at undoing end."""
        turn = self._claim()
        match fate:
            case "undoes one" if self.steps:
                self.undone.append(self.steps.pop())
                self.rollback_attempt = 0
                turn = self._lease()
                self.close(endings.released(turn))
            case "crashes":
                self.close(endings.lost(turn, max_crashes=self.max_crashes, random=0.5))
            case "fails":
                self.undoing_failures += 1
                self.close(endings.failed(turn, FAILURE, asked_wait=None, random=0.5))
            case "is done":
                left = len(self.steps)
                self.close(endings.undone(turn, left=left, random=0.5, sequence=1))
            case _:
                self.close(endings.released(turn))

    def _claim(self) -> Lease:
        before = self.state
        if before is JobState.ROLLING_BACK:
            self.rollback_attempt += 1
        else:
            self.move(JobState.RUNNING)
            if before is not JobState.WAITING:
                self.attempt += 1
        return self._lease(resumed=before is JobState.WAITING)

    def _lease(self, *, resumed: bool = False) -> Lease:
        rollback = self.state is JobState.ROLLING_BACK
        return lease(
            begun=self.attempt,
            crashed=self.crashes,
            allowed=self.allowed,
            resumed=resumed,
            rollback=rollback,
            rollback_attempt=self.rollback_attempt,
            rollback_outcome=self.outcome,
            cancel_rollback=self.cancel_rollback,
        )

    def close(self, ending: Ending) -> None:
        """Store the end of a turn."""
        if ending.failure and not ending.crashes:
            self.failures += 1
        self.attempt -= ending.attempts_given_back
        self.crashes += ending.crashes
        self.outcome = ending.rollback_outcome or self.outcome
        self.rollback_attempt = ending.rollback_attempt
        self.move(ending.state)

    def move(self, state: JobState) -> None:
        """Go on, legally."""
        assert state is self.state or state in TRANSITIONS[self.state]
        self.state = state

    @property
    def lives(self) -> bool:
        """Return whether a worker may still take it up to go on."""
        return not self.state.is_over and self.state is not JobState.ROLLING_BACK


def lived(fates: list[str], allowed: int, max_crashes: int) -> Row:
    """Return a job after some of its life, with its bounds checked on the way."""
    row = Row(allowed=allowed, max_crashes=max_crashes)
    for fate in fates:
        if not row.lives:
            break
        row.live(fate)
        check_bounds(row)
    return row


def check_bounds(row: Row) -> None:
    """Check what the schema and the contract promise of any job."""
    assert 0 <= row.attempt <= row.allowed + row.crashes
    assert row.failures <= row.allowed
    # Poison that has something to undo gets one more worker for that.
    assert row.crashes <= row.max_crashes + (row.outcome is not None)
    assert row.state is not JobState.QUEUED or row.attempt == 0
    assert row.state is not JobState.ROLLING_BACK or row.outcome is not None


LIVES = {"fates": FATES, "allowed": st.integers(1, 5), "max_crashes": st.integers(1, 4)}


class TestAnyLife:
    @given(**LIVES)
    def test_bounds(self, fates: list[str], allowed: int, max_crashes: int) -> None:
        """A job fails and crashes as often as it may and no more, and gives no attempt away."""
        row = lived(fates, allowed, max_crashes)

        # The one that has begun and not ended yet is that of a job that waits.
        open_attempt = 1 if row.state is JobState.WAITING else 0
        assert row.attempt >= row.failures + row.crashes
        if row.state in {JobState.RETRYING, JobState.QUEUED, JobState.WAITING}:
            assert row.attempt == row.failures + row.crashes + open_attempt

    @given(**LIVES)
    def test_ends_in_time(self, fates: list[str], allowed: int, max_crashes: int) -> None:
        """A job is over with its last failure or crash, or once it is cancelled; not before."""
        row = Row(allowed=allowed, max_crashes=max_crashes)
        for fate in fates:
            if not row.lives:
                break
            row.live(fate)
            final = fate in RUNS and (
                row.cancel_rollback is not None
                or fate == "fails for good"
                or (fate == "fails" and row.failures == allowed)
                or row.crashes == max_crashes
            )

            assert final == (not row.lives)

    @given(**LIVES)
    def test_where_it_ends(self, fates: list[str], allowed: int, max_crashes: int) -> None:
        """It goes to where it has to, after undoing where there is something and it is wanted."""
        row = lived(fates, allowed, max_crashes)
        if row.lives:
            return

        cancelled = row.cancel_rollback is not None
        goal = JobState.CANCELLED if cancelled else JobState.DEAD_LETTERED
        undoes = bool(row.steps) and (row.cancel_rollback or not cancelled)
        assert (row.outcome if undoes else row.state) is goal
        assert undoes == (row.state is JobState.ROLLING_BACK)


class TestAnyRollback:
    @given(**LIVES, undoing=UNDOING)
    def test_reverse_order(
        self, fates: list[str], allowed: int, max_crashes: int, undoing: list[str]
    ) -> None:
        """However often undoing is interrupted, steps are undone once, the last one first."""
        row = lived([*fates, "does a step", "fails for good"], allowed, max_crashes)
        done = list(row.steps)
        for fate in undoing:
            if row.state is not JobState.ROLLING_BACK:
                break
            row.undo(fate)
            check_bounds(row)

        assert done == row.steps + row.undone[::-1]
        if row.undone and row.state is row.outcome and row.state is JobState.CANCELLED:
            assert row.steps == []

    @given(**LIVES, undoing=UNDOING)
    def test_bounded(
        self, fates: list[str], allowed: int, max_crashes: int, undoing: list[str]
    ) -> None:
        """Undoing that fails as often as it may without getting anywhere is stuck."""
        row = lived([*fates, "does a step", "fails for good"], allowed, max_crashes)
        for fate in undoing:
            if row.state is not JobState.ROLLING_BACK:
                break
            row.undo(fate)

            assert row.rollback_attempt <= allowed
