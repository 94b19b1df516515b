"""What steering jobs needs of its store. Every method is one transaction, or none took place.

All of them raise DatabaseError when the database cannot be used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from services.jobs.job import JobId
from services.jobs.job_filter import JobFilter
from services.jobs.states import JobState
from shared.rpc.call import Tenant

MAX_SIGNALS = 100
"""Signals that a job may have which no step has waited for yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What a wish to cancel changed.

    Attributes:
        jobs: Jobs with a new revision.
        ended: Of these, those that are over.
        held: Whether workers have to hear of it.
        work: Whether a job has become ready.

    """

    jobs: frozenset[JobId]
    ended: frozenset[JobId]
    held: bool
    work: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """What became of a signal; `state` is None when there is no such job among those not over.

    Attributes:
        waiting: Signals that wait; -1 when a step took this one at once.
        jobs: Jobs with a new revision.
        work: Whether a job has become ready.

    """

    state: JobState | None
    waiting: int = 0
    jobs: frozenset[JobId] = frozenset()
    work: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Dead letters that were dealt with; `more` when others fit the filter too."""

    jobs: tuple[JobId, ...]
    more: bool = False


class SteeringStore(Protocol):
    """Changes where jobs go."""

    async def cancel(
        self, tenant: Tenant, job_id: JobId, *, reason: str, rollback: bool, grace: float
    ) -> Cancelled | None:
        """Let a job and its descendants end; None when it is over, or there is none.

        Those that a worker has are taken from it after `grace` seconds.
        """
        ...

    async def signal(self, tenant: Tenant, job_id: JobId, *, name: str, data: str) -> Signalled:
        """Give a signal to the step that waits for it, or keep it unless MAX_SIGNALS wait."""
        ...

    async def revive(
        self, tenant: Tenant, wanted: Collection[JobId] | JobFilter, *, limit: int
    ) -> Chosen:
        """Let dead letters go on: those that are named, or the oldest that fit."""
        ...

    async def discard(
        self, tenant: Tenant, wanted: Collection[JobId] | JobFilter, *, limit: int
    ) -> Chosen:
        """Put dead letters away: those that are named, or the oldest that fit."""
        ...
