"""Keeping the tables small: what is removed after how long, and how much at once."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from services.jobs import metrics
from services.jobs.job import JobId
from services.jobs.steering_ports import Chosen
from shared.rpc.call import Tenant
from shared.telemetry import measured

DAYS_AHEAD = 3
KEEP_KEYS = timedelta(days=30)
"""As long as the contract promises that a key is known."""
BATCH = 5_000
LETTERS = 1_000
"""Dead letters put away at a time: as many as one call may."""
MAX_BATCHES = 200
"""Of one kind in one run; what is left is for the next."""

log = structlog.get_logger()


class MaintenanceStore(Protocol):
    """Removes what is old. Raises DatabaseError when it cannot be used."""

    async def ensure_partitions(self, days_ahead: int) -> int:
        """Make the history's partitions of days to come; returns how many were missing."""
        ...

    async def drop_history(self, days: int) -> int:
        """Drop days of the history; returns how many."""
        ...

    async def delete_keys(self, older_than: timedelta, limit: int) -> int:
        """Delete idempotency keys; returns how many."""
        ...

    async def old_dead_letters(
        self, older_than: timedelta, limit: int
    ) -> Sequence[tuple[Tenant, JobId]]:
        """Return dead letters that nobody has cared for."""
        ...


Discard = Callable[[Tenant, Collection[JobId]], Awaitable[Chosen]]


class Maintenance:
    """What the service's own schedules run. Each method may be repeated and run twice at once."""

    def __init__(self, store: MaintenanceStore, discard: Discard, *, history_days: int) -> None:
        self._store = store
        self._discard = discard
        self._history_days = history_days

    @measured("jobs.partition")
    async def partition(self) -> dict[str, int]:
        """Make the partitions of the next days and drop those that are too old."""
        return self._noted(
            partitions_made=await self._store.ensure_partitions(DAYS_AHEAD),
            partitions_dropped=await self._store.drop_history(self._history_days),
        )

    @measured("jobs.sweep")
    async def sweep(self) -> dict[str, int]:
        """Remove keys that are too old, and put old dead letters away."""
        return self._noted(
            keys=await _all(lambda: self._store.delete_keys(KEEP_KEYS, BATCH)),
            dead_letters=await self._discard_old(),
        )

    async def _discard_old(self) -> int:
        discarded = 0
        for _ in range(MAX_BATCHES):
            old = await self._store.old_dead_letters(timedelta(days=self._history_days), LETTERS)
            if not old:
                break
            by_tenant: dict[Tenant, list[JobId]] = {}
            for tenant, job_id in old:
                by_tenant.setdefault(tenant, []).append(job_id)
            for tenant, job_ids in by_tenant.items():
                discarded += len((await self._discard(tenant, job_ids)).jobs)
        return discarded

    def _noted(self, **counts: int) -> dict[str, int]:
        for kind, count in counts.items():
            metrics.maintained.labels(kind).inc(count)
        log.info("maintained", **counts)
        return counts


async def _all(remove: Callable[[], Awaitable[int]]) -> int:
    """Repeat until little is left."""
    removed = 0
    for _ in range(MAX_BATCHES):
        count = await remove()
        removed += count
        if count < BATCH:
            break
    return removed
