"""Watching a job: its state now, and again after every change, until it is over."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import structlog

from mainstay.errors import DatabaseError, NotFoundError, UnavailableError
from services.jobs import metrics
from services.jobs.job import Job, JobId
from services.jobs.ports import JobReader
from services.jobs.wakeups import Change, Signal, Wakeups
from shared.rpc.call import Tenant

log = structlog.get_logger()


class Watcher:
    """One caller who watches one job; however often that changes, there is one flag to see it."""

    __slots__ = ("changed", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.changed = asyncio.Event()


class Watches:
    """The use case behind GetJob and WatchJob."""

    def __init__(
        self,
        reader: JobReader,
        wakeups: Wakeups,
        *,
        poll_interval: float,
        random: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._poll_interval = poll_interval
        self._random = random
        self._watchers: dict[JobId, set[Watcher]] = defaultdict(set)
        self._draining = False
        self._signal = Signal()
        wakeups.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if change.anything:
            # One query finds out whose job it was; all watchers reading theirs would be many.
            self._signal.set()
        for job_id in change.jobs:
            for watcher in self._watchers.get(job_id, ()):
                watcher.changed.set()

    async def get(self, tenant: Tenant, job_id: JobId) -> Job:
        """Return a job; raises NotFoundError, also when it is another tenant's."""
        job = await self._reader.find(tenant, job_id)
        if job is None:
            raise NotFoundError(
                f"job {job_id} does not exist in tenant {tenant}",
                resource_type="job",
                resource_name=str(job_id),
                reason="JOB_NOT_FOUND",
            )
        return job

    async def follow(self, tenant: Tenant, job_id: JobId, after: int) -> AsyncGenerator[Job]:
        """Yield the job whenever its revision is above what was seen, until it is over."""
        with self._watching(job_id, after) as watcher:
            while True:
                # Cleared before reading: what changes during the read is read again.
                watcher.changed.clear()
                job = await self.get(tenant, job_id)
                if job.revision > watcher.revision:
                    watcher.revision = job.revision
                    yield job
                if job.state.is_over:
                    return
                if self._draining:
                    raise UnavailableError(
                        "the service is shutting down; watch again with after_revision",
                        reason="DRAINING",
                    )
                await watcher.changed.wait()

    @contextmanager
    def _watching(self, job_id: JobId, after: int) -> Iterator[Watcher]:
        watcher = Watcher(after)
        self._watchers[job_id].add(watcher)
        metrics.watchers.inc()
        try:
            yield watcher
        finally:
            metrics.watchers.dec()
            self._watchers[job_id].discard(watcher)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    async def drain(self) -> None:
        """End all watches; callers go on at another replica."""
        self._draining = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.changed.set()

    async def run(self) -> None:
        """Find changes that nobody announced, in one query for all watched jobs."""
        while True:
            await self._signal.wait(within=self._poll_interval * (0.9 + self._random() / 5))
            try:
                await self.run_once()
            except DatabaseError as error:
                log.warning("watch_poll_failed", error=error.message)

    async def run_once(self) -> None:
        """Wake the watchers whose job has a newer revision than they have seen."""
        if not self._watchers:
            return
        revisions = await self._reader.revisions(list(self._watchers))
        for job_id, revision in revisions.items():
            for watcher in self._watchers.get(job_id, ()):
                if revision > watcher.revision:
                    watcher.changed.set()
