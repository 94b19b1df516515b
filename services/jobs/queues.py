"""Queues and workers as operators see and steer them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mainstay.errors import NotFoundError
from services.jobs.caps import Rate, rate_of
from services.jobs.explaining import Explanation, QueueFacts, explain
from services.jobs.function import FunctionDefinition
from services.jobs.job import Job, JobId, SessionId
from services.jobs.wakeups import Change, Wakeups
from shared.rpc.call import Tenant

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The line of one function and tenant.

    Attributes:
        oldest: Seconds that the ready job that has waited longest has waited; None without one.
        accepted_rate: Jobs accepted in the last minute, per second.
        ended_rate: Jobs ended in the last minute, per second.
        workers: Connected workers that serve it.

    """

    name: str
    ready: int
    delayed: int
    running: int
    waiting: int
    oldest: float | None
    paused: bool
    accepted_rate: float
    ended_rate: float
    workers: int
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedWorker:
    """A worker whose lease runs; `tenant` is whose jobs it does, * for all."""

    session_id: SessionId
    name: str
    tenant: Tenant
    functions: tuple[str, ...]
    running: int
    lease_expire_time: datetime
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFunction:
    """A function as workers last declared it, and how many connected ones have it."""

    definition: FunctionDefinition
    workers: int
    update_time: datetime


class QueueStore(Protocol):
    """Measures queues and holds them back. Raises DatabaseError when it cannot be used."""

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Queue]:
        """Return a tenant's queues by name, after a name."""
        ...

    async def find(self, tenant: Tenant, name: str) -> Queue | None:
        """Return one queue; None when no function has that name."""
        ...

    async def set_paused(self, tenant: Tenant, name: str, *, paused: bool) -> bool:
        """Hold a queue back or let it go on; returns whether there is a function of that name."""
        ...

    async def workers(
        self, tenant: Tenant, after: tuple[str, SessionId] | None, limit: int
    ) -> Sequence[ConnectedWorker]:
        """Return workers that serve a tenant by name and session id, after such a pair."""
        ...

    async def functions(
        self, tenant: Tenant, after: str, limit: int
    ) -> Sequence[FunctionDefinition]:
        """Return declared functions by name, after a name."""
        ...

    async def function(self, tenant: Tenant, name: str) -> KnownFunction | None:
        """Return one function."""
        ...

    async def facts(self, tenant: Tenant, job_id: JobId) -> QueueFacts | None:
        """Return what keeps a job from running; None for one that is over."""
        ...


FindJob = Callable[[Tenant, JobId], Awaitable[Job]]
DeniedFor = Callable[[Rate], float | None]
"""In how many seconds the rate limit service, which refused, is asked again."""


class Queues:
    """The use case behind the methods about queues, functions and workers, and ExplainJob."""

    def __init__(
        self, store: QueueStore, wakeups: Wakeups, find_job: FindJob, denied_for: DeniedFor
    ) -> None:
        self._store = store
        self._wakeups = wakeups
        self._find_job = find_job
        self._denied_for = denied_for

    async def set_paused(self, tenant: Tenant, name: str, *, paused: bool) -> Queue:
        """Hold a queue back or let it go on; raises NotFoundError."""
        known = await self._store.set_paused(tenant, name, paused=paused)
        queue = await self._store.find(tenant, name) if known else None
        if queue is None:
            raise NotFoundError(
                f"no function {name[:100]!r} has been declared, so it has no queue",
                resource_type="queue",
                resource_name=name[:100],
                reason="QUEUE_NOT_FOUND",
            )
        log.info("queue_paused" if paused else "queue_resumed", queue=name)
        if not paused:
            self._wakeups.announce(Change(work=True))
        return queue

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Queue]:
        """Return queues by name, after a name."""
        return await self._store.list(tenant, after, limit)

    async def workers(
        self, tenant: Tenant, after: tuple[str, SessionId] | None, limit: int
    ) -> Sequence[ConnectedWorker]:
        """Return connected workers by name, after one."""
        return await self._store.workers(tenant, after, limit)

    async def functions(
        self, tenant: Tenant, after: str, limit: int
    ) -> Sequence[FunctionDefinition]:
        """Return declared functions by name, after a name."""
        return await self._store.functions(tenant, after, limit)

    async def function(self, tenant: Tenant, name: str) -> KnownFunction:
        """Return one function; raises NotFoundError."""
        found = await self._store.function(tenant, name)
        if found is None:
            raise NotFoundError(
                f"no worker has declared a function {name[:100]!r}",
                resource_type="function",
                resource_name=name[:100],
                reason="FUNCTION_NOT_FOUND",
            )
        return found

    async def explain(self, tenant: Tenant, job_id: JobId) -> Explanation:
        """Return why a job does not run; raises NotFoundError."""
        facts = await self._store.facts(tenant, job_id)
        # Read after the facts: a job that has begun meanwhile is said to run.
        job = await self._find_job(tenant, job_id)
        return explain(job, facts, rate_denied_until=self._denied_until(tenant, facts))

    def _denied_until(self, tenant: Tenant, facts: QueueFacts | None) -> datetime | None:
        if facts is None or not facts.rate_endpoint:
            return None
        rate = rate_of(facts.rate_endpoint, facts.rate_subject, tenant=tenant, key=facts.key)
        seconds = self._denied_for(rate)
        return None if seconds is None else facts.now + timedelta(seconds=seconds)
