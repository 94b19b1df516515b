"""How a worker's turn at a job can end, and what then becomes of the job.

A turn goes on with a job, or undoes the steps of one that is rolled back. Whatever ends a turn at a
job that somebody wants to cancel, short of success, ends the job as cancelled.
"""

from dataclasses import dataclass

from services.jobs.job import Failure, JobId, SessionId
from services.jobs.retry import Backoff
from services.jobs.states import (
    Attempts,
    JobState,
    after_crash,
    after_failure,
    after_release,
)

WORKER_LOST = "WorkerLost"
NOT_UNDONE = "NotUndone"
MAX_WAIT = 30 * 24 * 3600.0
"""Longest wait that a function may ask for, in seconds: as long as jobs are kept."""
_SUSPECTS = Backoff(initial=0.5, maximum=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A worker's turn at a job, as it is stored.

    Attributes:
        epoch: Which turn; older ones are fenced off.
        last_sequence: The newest report applied.
        steps_bytes: What the job's steps take together.
        worker: Who has it, for people.
        resumed: Whether the job was waiting before, so that the turn began no attempt.
        rollback: Whether the turn is one at undoing.
        rollback_attempt: Turns at undoing that have begun since the last step was undone.
        rollback_outcome: Where the job goes once its steps are undone.
        cancel_rollback: None unless somebody wants the job to end; then whether to undo its steps.
        parent: The job that waits for this one.

    """

    job_id: JobId
    epoch: int
    session_id: SessionId
    last_sequence: int
    steps_bytes: int
    attempts: Attempts
    backoff: Backoff
    tenant: str
    function: str
    worker: str
    request_id: str
    traceparent: str
    resumed: bool = False
    rollback: bool = False
    rollback_attempt: int = 0
    rollback_outcome: JobState | None = None
    cancel_rollback: bool | None = None
    parent: JobId | None = None

    @property
    def cancelled(self) -> bool:
        """Return whether the job is to end as cancelled; undoing goes on in any case."""
        return self.cancel_rollback is not None and not self.rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a turn; made by the functions below only.

    Attributes:
        state: Where the job goes.
        wait: Seconds before the next turn may begin, where there is one; None while the job waits
            for something other than time and a worker.
        result: JSON text, for SUCCEEDED.
        failure: Why, unless it succeeded or was given back.
        attempts_given_back: 1 when the attempt does not count as begun.
        crashes: 1 when the worker was lost.
        sequence: The report that ended the turn; None when none did.
        rollback_outcome: Where the job goes once its steps are undone, when that begins.
        rollback_attempt: As in Lease, from now on.
        rollback_failure: Why undoing failed.

    """

    lease: Lease
    state: JobState
    wait: float | None = 0.0
    result: str | None = None
    failure: Failure | None = None
    attempts_given_back: int = 0
    crashes: int = 0
    sequence: int | None = None
    rollback_outcome: JobState | None = None
    rollback_attempt: int = 0
    rollback_failure: Failure | None = None

    @property
    def ready(self) -> bool:
        """Return whether a worker may take the job up at once."""
        return not self.state.is_over and self.wait is not None and self.wait <= 0


@dataclass(frozen=True, slots=True)
class Success:
    """A turn that ended well and of which there was nothing else to say."""

    job_id: JobId
    tenant: str
    function: str
    attempt: int
    worker: str
    request_id: str
    traceparent: str


def succeeded(lease: Lease, result: str, *, sequence: int) -> Ending:
    """End a turn whose function returned; a wish to cancel came too late."""
    return Ending(lease=lease, state=JobState.SUCCEEDED, result=result, sequence=sequence)


def failed(
    lease: Lease,
    failure: Failure,
    *,
    asked_wait: float | None,
    random: float,
    undoable: bool = False,
    sequence: int | None = None,
) -> Ending:
    """End a turn whose function failed; the function may ask for its own wait.

    `undoable` says whether the job has steps to undo, here and below.
    """
    if lease.cancelled:
        return _cancelled(lease, undoable=undoable, failure=failure, sequence=sequence)
    if lease.rollback:
        return _undoing_failed(lease, failure, asked_wait, random, sequence)
    state = after_failure(lease.attempts, permanent=failure.permanent)
    if state is JobState.DEAD_LETTERED:
        return _final(lease, failure, undoable=undoable, sequence=sequence)
    failures = lease.attempts.failures_when_this_fails
    wait = _wait(lease, asked_wait, failures, random)
    return Ending(lease=lease, state=state, wait=wait, failure=failure, sequence=sequence)


def released(lease: Lease, *, undoable: bool = False, sequence: int | None = None) -> Ending:
    """End a turn that was given back, by the worker or because it never reached one."""
    if lease.cancelled:
        return _cancelled(lease, undoable=undoable, sequence=sequence)
    if lease.rollback:
        attempt = max(lease.rollback_attempt - 1, 0)
        return Ending(
            lease=lease, state=JobState.ROLLING_BACK, rollback_attempt=attempt, sequence=sequence
        )
    if lease.resumed:
        return Ending(lease=lease, state=JobState.WAITING, sequence=sequence)
    state = after_release(lease.attempts, steps=lease.steps_bytes > 0)
    return Ending(lease=lease, state=state, attempts_given_back=1, sequence=sequence)


def suspended(lease: Lease, *, woken: bool, undoable: bool = False, sequence: int) -> Ending:
    """End a turn that has nothing left to do but wait; `woken` when that is over already."""
    if lease.cancelled:
        return _cancelled(lease, undoable=undoable, sequence=sequence)
    wait = 0.0 if woken else None
    return Ending(lease=lease, state=JobState.WAITING, wait=wait, sequence=sequence)


def undone(lease: Lease, *, left: int, random: float, sequence: int) -> Ending:
    """End a turn at undoing whose worker is done; `left` steps are still to undo."""
    if left:
        failure = Failure(
            kind=NOT_UNDONE,
            message=f"{left} steps are left to undo; does this worker's code know how?",
        )
        return _undoing_failed(lease, failure, None, random, sequence)
    state = lease.rollback_outcome or JobState.DEAD_LETTERED
    return Ending(lease=lease, state=state, sequence=sequence)


def lost(lease: Lease, *, max_crashes: int, random: float, undoable: bool = False) -> Ending:
    """End a turn whose worker is gone; another may begin at once, when it is the first.

    After that it waits by chance: what kills workers is among the jobs that one had, and would take
    the others with it from worker to worker, until all of them look like poison.
    """
    failure = _crash(lease, max_crashes)
    crashed = lease.attempts.crashed
    wait = _SUSPECTS.wait(crashed, random) if crashed else 0.0
    if lease.cancelled:
        return _cancelled(lease, undoable=undoable, failure=failure, crashes=1)
    state = after_crash(lease.attempts, max_crashes=max_crashes)
    if lease.rollback:
        return Ending(
            lease=lease,
            state=state if state.is_over else JobState.ROLLING_BACK,
            wait=wait,
            crashes=1,
            # Counted apart from failures, here too.
            rollback_attempt=max(lease.rollback_attempt - 1, 0),
            rollback_failure=failure,
        )
    if state is JobState.DEAD_LETTERED:
        return _final(lease, failure, undoable=undoable, crashes=1)
    return Ending(lease=lease, state=state, wait=wait, failure=failure, crashes=1)


def _crash(lease: Lease, max_crashes: int) -> Failure:
    crashes = lease.attempts.crashed + 1
    message = f"worker {lease.worker} was lost during attempt {lease.attempts.begun}"
    if crashes >= max_crashes:
        message += f"; {crashes} workers were lost to this job, which seems to be the cause"
    return Failure(kind=WORKER_LOST, message=message)


def _final(
    lease: Lease,
    failure: Failure,
    *,
    undoable: bool,
    crashes: int = 0,
    sequence: int | None = None,
) -> Ending:
    return Ending(
        lease=lease,
        state=JobState.ROLLING_BACK if undoable else JobState.DEAD_LETTERED,
        failure=failure,
        crashes=crashes,
        sequence=sequence,
        rollback_outcome=JobState.DEAD_LETTERED if undoable else None,
    )


def _cancelled(
    lease: Lease,
    *,
    undoable: bool,
    failure: Failure | None = None,
    crashes: int = 0,
    sequence: int | None = None,
) -> Ending:
    rolls_back = undoable and bool(lease.cancel_rollback)
    return Ending(
        lease=lease,
        state=JobState.ROLLING_BACK if rolls_back else JobState.CANCELLED,
        failure=failure,
        crashes=crashes,
        sequence=sequence,
        rollback_outcome=JobState.CANCELLED if rolls_back else None,
    )


def _undoing_failed(
    lease: Lease,
    failure: Failure,
    asked_wait: float | None,
    random: float,
    sequence: int | None,
) -> Ending:
    stuck = failure.permanent or lease.rollback_attempt >= lease.attempts.allowed
    return Ending(
        lease=lease,
        state=JobState.DEAD_LETTERED if stuck else JobState.ROLLING_BACK,
        wait=_wait(lease, asked_wait, max(lease.rollback_attempt, 1), random),
        sequence=sequence,
        rollback_attempt=lease.rollback_attempt,
        rollback_failure=failure,
    )


def _wait(lease: Lease, asked: float | None, failures: int, random: float) -> float:
    if asked is None:
        return lease.backoff.wait(failures, random)
    return min(max(asked, 0.0), MAX_WAIT)
