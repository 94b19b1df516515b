"""A client and workers of frames around a real jobs service that is patient with silent workers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from mainstay.channel import Channel
from mainstay.jobs import JobClient
from mainstay.jobs.v1 import function_pb2
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, raw_workers
from tests.integration.sdk_jobs.jobs_service import serving

PATIENCE = 20.0
WORK, FOLLOW_UP = "test/work", "test/follow-up"
# A worker of frames does not beat by itself, and the service's own is not what tests count.
_PATIENT: dict[str, Any] = {
    "jobs_session_lease": 30.0,
    "jobs_heartbeat_interval": 10.0,
    "jobs_resume_window": 5.0,
    "jobs_maintenance": False,
}

T = TypeVar("T")


class Contract:
    """Both ends of the service: `jobs` calls it as the tenant `acme`, workers do its jobs."""

    def __init__(self, address: str, jobs: JobClient, workers: Workers) -> None:
        self.address = address
        self.jobs = jobs
        self._workers = workers

    async def worker(
        self, *functions: function_pb2.FunctionDefinition, tenant: str = "acme"
    ) -> RawWorker:
        """Connect a worker, by default of the function `work` that `test/work` starts."""
        return await self._workers.connect(
            self.address, *(functions or (work(),)), tenant=tenant, worker="raw-1"
        )

    async def no_workers(self) -> None:
        """Wait until the ends of all sessions are stored."""
        async with asyncio.timeout(PATIENCE):
            while await all_of(self.jobs.list_workers()):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)

    async def dead_letters(self, number: int = 1) -> list[str]:
        """Have jobs end badly; return their ids."""
        worker = await self.worker(work(max_attempts=1))
        made: list[str] = []
        for n in range(number):
            made += (await self.jobs.send_event(WORK, {"n": n})).job_ids
            await worker.fail((await worker.take_one()).token)
        await worker.say_goodbye()
        return made


def work(name: str = "work", trigger: str = WORK, **fields: Any) -> function_pb2.FunctionDefinition:
    """Declare a function; what `function` does not know is set on top."""
    simple = {key: fields.pop(key) for key in ("max_attempts", "backoff") if key in fields}
    definition = function(name, trigger, **simple)
    definition.MergeFrom(function_pb2.FunctionDefinition(**fields))
    return definition


async def all_of(found: AsyncGenerator[T, None]) -> list[T]:
    """Return all of a list."""
    return [each async for each in found]


@asynccontextmanager
async def contract_of(
    postgres_url: str, policies: Path, **settings: Any
) -> AsyncIterator[Contract]:
    """Serve and connect within the block."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            serving(postgres_url, policies, **_PATIENT | settings)
        )
        workers = await stack.enter_async_context(raw_workers())
        channel = await stack.enter_async_context(Channel(address, tenant="acme"))
        yield Contract(address, JobClient(channel), workers)
