"""The life of a job: its states, every legal move between them, and what decides a move.

QUEUED         set when the event is accepted, or a worker gives back the first attempt;
               a claim moves it to RUNNING.
RUNNING        set by the claim; the worker's last report, or its loss, moves it on.
RETRYING       set when an attempt failed and there are more, or the worker was lost, or a later
               attempt was given back; a claim moves it to RUNNING once it is due.
SUCCEEDED      set by the report that the function returned. The end.
DEAD_LETTERED  set when the last attempt failed, the failure is permanent, or the job has lost too
               many workers. The end; kept for inspection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; the values are those of the column `jobs.state`."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD_LETTERED = "dead_lettered"

    @property
    def is_over(self) -> bool:
        """Return whether nothing can follow."""
        return not TRANSITIONS[self]


# The trigger `legal_transition` in sql/migrations holds the same arrows; a test compares the two.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING}),
    JobState.RETRYING: frozenset({JobState.RUNNING}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.RETRYING, JobState.SUCCEEDED, JobState.DEAD_LETTERED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.DEAD_LETTERED: frozenset(),
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


def after_release(attempts: Attempts) -> JobState:
    """Return where a job goes that was given back; the attempt does not count as begun."""
    return JobState.QUEUED if attempts.begun == 1 else JobState.RETRYING


def after_crash(attempts: Attempts, *, max_crashes: int) -> JobState:
    """Return where a job goes whose worker was lost.

    A crash uses up no attempt, but a job that lost `max_crashes` workers is taken for the cause.
    """
    if attempts.crashed + 1 >= max_crashes:
        return JobState.DEAD_LETTERED
    return JobState.RETRYING
