"""A worker whose handlers begin and end when a test says so."""

import asyncio

from google.protobuf.duration_pb2 import Duration

from mainstay.jobs import JobContext, JsonValue, Worker
from tests.integration.sdk_jobs.running_worker import PATIENCE


class Bench:
    """A worker whose handlers begin and end when the test says so."""

    def __init__(self, address: str, *, concurrency: int = 2, drain_seconds: float = 30) -> None:
        self.worker = Worker(
            address,
            name="bench",
            tenant="*",
            concurrency=concurrency,
            drain_seconds=drain_seconds,
        )
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.finish = asyncio.Event()
        self.steps_run: list[str] = []
        self.worker.function("work", on="test/work")(self.work)
        self.worker.function("steps", on="test/steps")(self.two_steps)
        self.worker.function("chatter", on="test/chatter")(self.chatter)

    async def work(self, job: JobContext) -> JsonValue:
        self.begun.put_nowait(job.id)
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(job.id)
            raise
        return job.id

    async def two_steps(self, job: JobContext) -> JsonValue:
        first = await job.step.run("first", self.note, "first")
        second = await job.step.run("second", self.note, "second")
        return [first, second]

    async def note(self, key: str) -> str:
        self.steps_run.append(key)
        return f"{key} done"

    async def chatter(self, job: JobContext) -> JsonValue:
        for hundredth in range(100):
            await job.progress(hundredth / 100)
        return None

    async def next_begun(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.begun.get()

    async def next_cancelled(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.cancelled.get()


def seconds(value: float) -> Duration:
    """Return a duration for the wire."""
    duration = Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration
