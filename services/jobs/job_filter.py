"""Which jobs a list is about, and where in it a page begins."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.jobs.job import EventId, Job, JobId
from services.jobs.states import JobState

LIVE = frozenset(JobState) - {JobState.SUCCEEDED, JobState.CANCELLED, JobState.DISCARDED}
"""States of jobs whose records are not in the history."""
FIRST = JobId(UUID(int=2**128 - 1))
"""Above the id of every job: where the first page begins."""

# An id is made when the job is, but by another clock than the database's may have been: this much
# apart, they are still found.
_CLOCKS_APART = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """What jobs have to fit; what is None or empty does not matter."""

    states: frozenset[JobState] = frozenset()
    function: str | None = None
    event_id: EventId | None = None
    request_id: str | None = None
    create_time_from: datetime | None = None
    create_time_to: datetime | None = None
    failure_kind: str | None = None

    @property
    def wants_live(self) -> bool:
        """Return whether a job that is not in the history may fit."""
        return not self.states or bool(self.states & LIVE)

    @property
    def wants_history(self) -> bool:
        """Return whether a job of the history may fit."""
        return not self.states or bool(self.states - LIVE)

    @property
    def wants_dead_letters_only(self) -> bool:
        """Return whether nothing but dead letters fits."""
        return self.states == {JobState.DEAD_LETTERED}

    @property
    def lowest(self) -> JobId:
        """Return an id below those of all jobs that fit."""
        if self.create_time_from is None:
            return JobId(UUID(int=0))
        return _first_id(self.create_time_from - _CLOCKS_APART)

    @property
    def highest(self) -> JobId:
        """Return an id above those of all jobs that fit."""
        if self.create_time_to is None:
            return FIRST
        return _first_id(self.create_time_to + _CLOCKS_APART)


def _first_id(moment: datetime) -> JobId:
    """Return the smallest id that can have been made at that time; see RFC 9562, UUIDv7."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return JobId(UUID(int=min(milliseconds, 2**48 - 1) << 80))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Jobs, the newest first; the next page has those below `next`, None when there are none."""

    jobs: tuple[Job, ...]
    next: JobId | None
