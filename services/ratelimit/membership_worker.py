"""Memberships change plans: a worker of the jobs service for the event `membership/updated`."""

import asyncio
from uuid import UUID

import structlog

from mainstay.errors import MainstayError
from mainstay.jobs import JobContext, JsonValue, NonRetryableError, Worker
from services.ratelimit.audit import Actor
from services.ratelimit.plan_ports import PlanWish
from services.ratelimit.plans import Plans
from shared.rpc.call import ALL_TENANTS, Tenant

FUNCTION = "ratelimit-assign-plan"
EVENT = "membership/updated"
ENDED = "cancelled"
DRAIN_SECONDS = 3.0

# With the pauses in between, a day: for so long a database may be away.
_RETRIES = 99
_FIRST_BACKOFF = 0.5
_CONCURRENCY = 20
_PAUSE_SECONDS = 30.0

log = structlog.get_logger()


class MembershipWorker:
    """Puts the user of every such event on its plan; `user:42` is the subject of the user 42.

    Connects to the jobs service at `address` when that is there, and again when it was away.
    """

    def __init__(self, address: str, plans: Plans) -> None:
        self._address = address
        self._plans = plans
        self._worker = self._new_worker()
        self._draining = False

    async def run(self) -> None:
        """Work until cancelled; for a background task."""
        while not self._draining:
            try:
                await self._worker.run()
            except MainstayError as error:
                # Such as an event that the jobs service does not have: operators may add it.
                log.warning(
                    "membership_worker_refused", error=error.message, retry_in_s=_PAUSE_SECONDS
                )
                await asyncio.sleep(_PAUSE_SECONDS)
                self._worker = self._new_worker()
        await asyncio.Event().wait()

    async def ready(self) -> None:
        """Return once events are taken."""
        await self._worker.ready()

    async def drain(self) -> None:
        """Take no more jobs and finish those at hand."""
        self._draining = True
        self._worker.stop()

    def _new_worker(self) -> Worker:
        worker = Worker(
            self._address,
            tenant=ALL_TENANTS,
            concurrency=_CONCURRENCY,
            drain_seconds=DRAIN_SECONDS,
        )
        worker.function(
            FUNCTION,
            on=EVENT,
            retries=_RETRIES,
            initial_backoff=_FIRST_BACKOFF,
        )(self._assign)
        return worker

    async def _assign(self, job: JobContext) -> JsonValue:
        status = str(job.data["status"])
        plan = "" if status == ENDED else str(job.data["plan"])
        wish = PlanWish(
            subject=f"user:{job.data['user_id']}",
            plan=plan,
            reason=f"{EVENT}: {status}",
            job_id=UUID(job.id),
        )
        try:
            assignment = await self._plans.assign(
                Tenant(job.tenant), wish, Actor(f"event:{EVENT}", job.request_id)
            )
        except MainstayError as error:
            if error.transient:
                raise
            raise NonRetryableError(error.message) from error
        return {"subject": assignment.subject, "plan": assignment.plan}
