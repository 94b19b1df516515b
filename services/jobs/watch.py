"""Watching jobs: their state now, and again after every change, until they are over."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

import structlog

from mainstay.errors import DatabaseError, UnavailableError
from services.jobs import metrics
from services.jobs.job import Job, JobId
from services.jobs.job_errors import job_not_found
from services.jobs.ports import JobReader
from services.jobs.shared_reads import SharedReads
from services.jobs.wakeups import Change, Signal, Wakeups
from shared.rpc.call import Tenant

BATCH = 50
"""Jobs that one watcher has read for itself at a time."""

log = structlog.get_logger()


class Watcher:
    """One caller who watches jobs; however often one changes, it is noted once.

    Attributes:
        seen: The newest revision that was seen of each job that is not over.
        changed: Which of them may have a newer one, in the order in which they changed.

    """

    __slots__ = ("changed", "news", "seen", "tenant")

    def __init__(self, tenant: Tenant, seen: Mapping[JobId, int]) -> None:
        self.tenant = tenant
        self.seen = dict(seen)
        self.changed = dict.fromkeys(seen)
        self.news = asyncio.Event()

    def note(self, job_id: JobId) -> None:
        """Note that a job has changed."""
        self.changed[job_id] = None
        self.news.set()

    def take(self) -> list[JobId]:
        """Return the next jobs to look at, which count as unchanged from now on."""
        taken = list(islice(self.changed, BATCH))
        for job_id in taken:
            del self.changed[job_id]
        return taken


class Watches:
    """The use case behind GetJob, WatchJob and WatchJobs."""

    def __init__(
        self,
        reader: JobReader,
        wakeups: Wakeups,
        *,
        poll_interval: float,
        random: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._reads = SharedReads(reader)
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
                watcher.note(job_id)

    async def get(self, tenant: Tenant, job_id: JobId) -> Job:
        """Return a job; raises NotFoundError, also when it is another tenant's."""
        job = await self._reader.find(tenant, job_id)
        if job is None:
            raise job_not_found(tenant, job_id)
        return job

    async def follow(self, tenant: Tenant, seen: Mapping[JobId, int]) -> AsyncGenerator[Job]:
        """Yield each job whenever its revision is above what was seen, until all are over.

        Between two of them no more is kept than a batch, however many change meanwhile.
        """
        with self._watching(tenant, seen) as watcher:
            while watcher.seen:
                if watcher.changed:
                    async for job in self._news(watcher):
                        yield job
                elif self._draining:
                    raise UnavailableError(
                        "the service is shutting down; watch again with after_revision",
                        reason="DRAINING",
                    )
                else:
                    watcher.news.clear()
                    await watcher.news.wait()

    async def _news(self, watcher: Watcher) -> AsyncGenerator[Job]:
        """Yield the next jobs that have changed; what changes meanwhile is noted again."""
        taken = watcher.take()
        jobs = await self._reads.read(watcher.tenant, taken)
        for job_id in taken:
            if job_id not in jobs:
                watcher.note(job_id)
                continue
            # Not kept while the caller takes its time over the others.
            job = jobs.pop(job_id)
            if job is None:
                raise job_not_found(watcher.tenant, job_id)
            if job.state.is_over:
                seen = self._forget(watcher, job_id)
            else:
                seen = watcher.seen[job_id]
                watcher.seen[job_id] = max(seen, job.revision)
            if job.revision > seen:
                yield job

    @contextmanager
    def _watching(self, tenant: Tenant, seen: Mapping[JobId, int]) -> Iterator[Watcher]:
        watcher = Watcher(tenant, seen)
        for job_id in seen:
            self._watchers[job_id].add(watcher)
        metrics.watchers.inc()
        try:
            yield watcher
        finally:
            metrics.watchers.dec()
            for job_id in list(watcher.seen):
                self._forget(watcher, job_id)

    def _forget(self, watcher: Watcher, job_id: JobId) -> int:
        """Stop watching a job and return what was seen of it."""
        seen = watcher.seen.pop(job_id)
        watcher.changed.pop(job_id, None)
        self._watchers[job_id].discard(watcher)
        if not self._watchers[job_id]:
            del self._watchers[job_id]
        return seen

    async def drain(self) -> None:
        """End all watches; callers go on at another replica."""
        self._draining = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.news.set()

    async def read(self) -> None:
        """Read jobs for all who watch, for ever."""
        await self._reads.run()

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
        watched = {
            (watcher.tenant, job_id)
            for job_id, watchers in self._watchers.items()
            for watcher in watchers
        }
        revisions = await self._reader.revisions(watched)
        for job_id, revision in revisions.items():
            for watcher in self._watchers.get(job_id, ()):
                # The caller may have gone, or seen it, during the read.
                if revision > watcher.seen.get(job_id, revision):
                    watcher.note(job_id)
