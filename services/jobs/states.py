"""The life of a job: its states, every legal move between them, and what decides a move.

QUEUED         set when the job is accepted, or a worker gives back the first attempt before any
               step; a claim moves it to RUNNING.
RUNNING        set by the claim; the worker's last report, or its loss, moves it on.
RETRYING       set when an attempt failed and there are more, the worker was lost, another attempt
               was given back, or somebody retries a dead letter; a claim moves it to RUNNING once
               it is due.
WAITING        set when all that is left to do is to wait; once something has come it is ready, and
               a claim moves it to RUNNING.
ROLLING_BACK   set by the final failure, or a cancellation that asks for it, of a job with steps to
               undo; workers undo them, turn by turn, until it ends.
SUCCEEDED      set by the report that the function returned. The end.
CANCELLED      set when somebody asked for it and nobody has the job any more. The end.
DEAD_LETTERED  set when the last attempt failed, the failure is permanent, the job has lost too
               many workers, had to give way in a full queue, or got stuck while undoing. Stays
               until somebody retries it or puts it away.
DISCARDED      set when somebody puts a dead letter away. The end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; the values are those of the column `jobs.state`."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"

    @property
    def is_over(self) -> bool:
        """Return whether nothing follows unless somebody wants it to."""
        return self in _OVER


_OVER = frozenset(
    {JobState.SUCCEEDED, JobState.DEAD_LETTERED, JobState.CANCELLED, JobState.DISCARDED}
)

# The trigger `legal_transition` in sql/migrations and the constraint `move_is_legal` of the history
# hold the same arrows; a test compares them.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    # One that a replica of version 1 gave back may have finished steps to undo.
    JobState.QUEUED: frozenset(
        {
            JobState.RUNNING,
            JobState.ROLLING_BACK,
            JobState.DEAD_LETTERED,
            JobState.CANCELLED,
        }
    ),
    JobState.RETRYING: frozenset(
        {
            JobState.RUNNING,
            JobState.ROLLING_BACK,
            JobState.DEAD_LETTERED,
            JobState.CANCELLED,
        }
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.RETRYING,
            JobState.WAITING,
            JobState.ROLLING_BACK,
            JobState.SUCCEEDED,
            JobState.DEAD_LETTERED,
            JobState.CANCELLED,
        }
    ),
    JobState.WAITING: frozenset(
        {
            JobState.RUNNING,
            JobState.ROLLING_BACK,
            JobState.DEAD_LETTERED,
            JobState.CANCELLED,
        }
    ),
    JobState.ROLLING_BACK: frozenset({JobState.DEAD_LETTERED, JobState.CANCELLED}),
    JobState.DEAD_LETTERED: frozenset(
        {JobState.RETRYING, JobState.ROLLING_BACK, JobState.DISCARDED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.DISCARDED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often a running job was tried.

    Attributes:
        begun: Attempts begun, the current one included. At least 1.
        crashed: Of these, how many lost their worker.
        allowed: How many may fail, as the function declared. At least 1.

    """

    begun: int
    crashed: int
    allowed: int

    @property
    def failures_when_this_fails(self) -> int:
        """Return how many attempts will have failed by themselves if the current one does."""
        return self.begun - self.crashed


def after_failure(attempts: Attempts, *, permanent: bool) -> JobState:
    """Return where a job goes whose function failed."""
    if permanent or attempts.failures_when_this_fails >= attempts.allowed:
        return JobState.DEAD_LETTERED
    return JobState.RETRYING


def after_release(attempts: Attempts, *, steps: bool) -> JobState:
    """Return where a job goes that was given back; the attempt does not count as begun.

    One with `steps`, finished or waiting, has begun all the same, with the version that it has.
    """
    return JobState.QUEUED if attempts.begun == 1 and not steps else JobState.RETRYING


def after_crash(attempts: Attempts, *, max_crashes: int) -> JobState:
    """Return where a job goes whose worker was lost.

    A crash uses up no attempt, but a job that lost `max_crashes` workers is taken for the cause.
    """
    if attempts.crashed + 1 >= max_crashes:
        return JobState.DEAD_LETTERED
    return JobState.RETRYING
