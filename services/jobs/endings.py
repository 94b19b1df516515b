"""How a worker's turn at a job can end, and what then becomes of the job."""

from dataclasses import dataclass

from services.jobs.job import Failure, JobId, SessionId
from services.jobs.retry import Backoff
from services.jobs.states import Attempts, JobState, after_crash, after_failure, after_release

WORKER_LOST = "WorkerLost"
MAX_WAIT = 30 * 24 * 3600.0
"""Longest wait that a function may ask for, in seconds: as long as jobs are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A worker's turn at a job, as it is stored.

    Attributes:
        epoch: Which turn; older ones are fenced off.
        last_sequence: The newest report applied.
        steps_bytes: What the job's steps take together.
        worker: Who has it, for people.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a turn; made by the functions below only.

    Attributes:
        state: Where the job goes.
        wait: Seconds before the next attempt may begin, where there is one.
        result: JSON text, for SUCCEEDED.
        failure: Why, unless it succeeded or was given back.
        attempts_given_back: 1 when the attempt does not count as begun.
        crashes: 1 when the worker was lost.
        sequence: The report that ended the turn; None when none did.

    """

    lease: Lease
    state: JobState
    wait: float = 0.0
    result: str | None = None
    failure: Failure | None = None
    attempts_given_back: int = 0
    crashes: int = 0
    sequence: int | None = None


def succeeded(lease: Lease, result: str, *, sequence: int) -> Ending:
    """End a turn whose function returned."""
    return Ending(lease=lease, state=JobState.SUCCEEDED, result=result, sequence=sequence)


def failed(
    lease: Lease, failure: Failure, *, asked_wait: float | None, random: float, sequence: int
) -> Ending:
    """End a turn whose function failed; the function may ask for its own wait."""
    state = after_failure(lease.attempts, permanent=failure.permanent)
    if asked_wait is None:
        wait = lease.backoff.wait(lease.attempts.failures_when_this_fails, random)
    else:
        wait = min(max(asked_wait, 0.0), MAX_WAIT)
    return Ending(lease=lease, state=state, wait=wait, failure=failure, sequence=sequence)


def released(lease: Lease, *, sequence: int | None = None) -> Ending:
    """End a turn that was given back, by the worker or because it never reached one."""
    state = after_release(lease.attempts)
    return Ending(lease=lease, state=state, attempts_given_back=1, sequence=sequence)


def lost(lease: Lease, *, max_crashes: int) -> Ending:
    """End a turn whose worker is gone; another may begin at once."""
    state = after_crash(lease.attempts, max_crashes=max_crashes)
    crashes = lease.attempts.crashed + 1
    message = f"worker {lease.worker} was lost during attempt {lease.attempts.begun}"
    if state is JobState.DEAD_LETTERED:
        message += f"; {crashes} workers were lost to this job, which seems to be the cause"
    failure = Failure(kind=WORKER_LOST, message=message)
    return Ending(lease=lease, state=state, failure=failure, crashes=1)
