"""Steering jobs: cancelling, signalling, and what becomes of dead letters."""

from collections.abc import Collection

import structlog

from mainstay.errors import PreconditionError, QuotaError
from services.jobs.job import Job, JobId
from services.jobs.job_errors import job_not_found, job_over
from services.jobs.job_filter import JobFilter
from services.jobs.ports import JobReader
from services.jobs.steering_ports import MAX_SIGNALS, Chosen, SteeringStore
from services.jobs.wakeups import Change, Wakeups
from shared.rpc.call import Tenant

CANCEL_GRACE = 30.0
"""Seconds that a worker has to end a job after somebody wanted it to."""
MAX_DEAD_LETTERS = 1_000
"""Dead letters that one call deals with."""

log = structlog.get_logger()


class Steering:
    """The use case behind CancelJob, RetryJob, SignalJob and the calls about dead letters."""

    def __init__(self, store: SteeringStore, reader: JobReader, wakeups: Wakeups) -> None:
        self._store = store
        self._reader = reader
        self._wakeups = wakeups

    async def cancel(self, tenant: Tenant, job_id: JobId, *, reason: str, rollback: bool) -> Job:
        """Let a job and its descendants end; raises PreconditionError (`JOB_OVER`)."""
        cancelled = await self._store.cancel(
            tenant, job_id, reason=reason, rollback=rollback, grace=CANCEL_GRACE
        )
        if cancelled is None:
            job = await self._get(tenant, job_id)
            if not _was_asked(job, rollback=rollback):
                raise job_over(job, "cannot be cancelled any more")
            return job
        log.info(
            "job_cancelled",
            job_id=str(job_id),
            reason=reason,
            rollback=rollback,
            jobs=len(cancelled.jobs),
            ended=len(cancelled.ended),
        )
        self._wakeups.announce(
            Change(jobs=cancelled.jobs, work=cancelled.work, cancelled=cancelled.held)
        )
        return await self._get(tenant, job_id)

    async def retry(self, tenant: Tenant, job_id: JobId) -> Job:
        """Let a dead letter go on; raises PreconditionError (`JOB_NOT_DEAD`)."""
        chosen = await self.replay(tenant, [job_id])
        job = await self._get(tenant, job_id)
        if not chosen.jobs:
            raise PreconditionError(
                f"job {job_id} is {job.state.value}; only dead letters can be retried",
                reason="JOB_NOT_DEAD",
            )
        return job

    async def signal(self, tenant: Tenant, job_id: JobId, *, name: str, data: str) -> None:
        """Tell a job something; raises PreconditionError (`JOB_OVER`) and QuotaError."""
        signalled = await self._store.signal(tenant, job_id, name=name, data=data)
        if signalled.state is None or signalled.state.is_over:
            job = await self._get(tenant, job_id)
            raise job_over(job, "does not wait for signals any more")
        if signalled.waiting >= MAX_SIGNALS:
            raise QuotaError(
                f"{signalled.waiting} signals to job {job_id} wait for a step that takes them",
                violations={
                    "signals": f"at most {MAX_SIGNALS} may wait; send more once some are taken"
                },
                reason="TOO_MANY_SIGNALS",
            )
        log.info("job_signalled", job_id=str(job_id), signal=name, taken=signalled.waiting < 0)
        self._wakeups.announce(Change(jobs=signalled.jobs, work=signalled.work))

    async def replay(self, tenant: Tenant, wanted: Collection[JobId] | JobFilter) -> Chosen:
        """Let dead letters go on; those that are none are left out."""
        chosen = await self._store.revive(tenant, wanted, limit=MAX_DEAD_LETTERS)
        self._dealt_with("dead_letters_replayed", chosen, work=True)
        return chosen

    async def discard(self, tenant: Tenant, wanted: Collection[JobId] | JobFilter) -> Chosen:
        """Put dead letters away; those that are none are left out."""
        chosen = await self._store.discard(tenant, wanted, limit=MAX_DEAD_LETTERS)
        self._dealt_with("dead_letters_discarded", chosen, work=False)
        return chosen

    def _dealt_with(self, what: str, chosen: Chosen, *, work: bool) -> None:
        if chosen.jobs:
            log.info(what, jobs=len(chosen.jobs), first_job=str(chosen.jobs[0]))
            self._wakeups.announce(Change(jobs=frozenset(chosen.jobs), work=work))

    async def _get(self, tenant: Tenant, job_id: JobId) -> Job:
        job = await self._reader.find(tenant, job_id)
        if job is None:
            raise job_not_found(tenant, job_id)
        return job


def _was_asked(job: Job, *, rollback: bool) -> bool:
    """Return whether the wish is one that was heard before: its answer may have been lost."""
    asked = job.cancellation
    return asked is not None and (asked.rollback or not rollback)
