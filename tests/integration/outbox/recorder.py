"""A worker that writes down the jobs it gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import asyncpg

from mainstay.jobs import JobContext, JsonValue, Worker
from tests.integration.outbox.schemas import EVENT, FUNCTION
from tests.integration.sdk_jobs.running_worker import running

PATIENCE = 20.0


class Recorder:
    """Knows which jobs ran, and how many the service has."""

    def __init__(self, service_database: str) -> None:
        self._service_database = service_database
        self._news = asyncio.Condition()
        self.jobs: list[JobContext] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, address: str, service_database: str) -> AsyncIterator[Self]:
        """Work within the block, for every tenant."""
        recorder = cls(service_database)
        worker = Worker(address, name="recorder", tenant="*", concurrency=50)
        worker.function(FUNCTION, on=EVENT)(recorder._record)
        async with running(worker):
            await asyncio.wait_for(worker.ready(), PATIENCE)
            yield recorder

    async def _record(self, job: JobContext) -> JsonValue:
        async with self._news:
            self.jobs.append(job)
            self._news.notify_all()
        return None

    @property
    def orders(self) -> list[object]:
        """Return the numbers of the orders that there were jobs for."""
        return sorted((job.data["order"] for job in self.jobs), key=str)

    async def reaches(self, number: int) -> None:
        """Wait until so many jobs have run."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.jobs) >= number)

    async def count_jobs(self) -> int:
        """Return how many jobs the service has, begun or not."""
        connection = await asyncpg.connect(self._service_database)
        try:
            await connection.execute("SET mainstay.tenant = '*'")
            # In one statement: a job that ends meanwhile moves from the one to the other.
            return int(
                await connection.fetchval(
                    "SELECT (SELECT count(*) FROM jobs.jobs) + (SELECT count(*) FROM jobs.history)"
                )
            )
        finally:
            await connection.close()
