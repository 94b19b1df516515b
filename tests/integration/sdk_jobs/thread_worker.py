"""A worker in an event loop of its own, which its handlers may block, and another thread frees."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mainstay.jobs import JobContext, JsonValue, Worker
from tests.integration.sdk_jobs.running_worker import PATIENCE


class ThreadWorker:
    """Has a function that blocks its loop and one that is silent until it is asked for a sign."""

    def __init__(self, address: str) -> None:
        self.worker = Worker(address, name="blocked", tenant="*", concurrency=2)
        self.begun = threading.Event()
        self.free = threading.Event()
        self.cancelled = threading.Event()
        self.sign_given = threading.Event()
        self.worker.function("block", on="test/block")(self.block)
        self.worker.function("silent", on="test/silent")(self.silent)
        self.worker.function("steps", on="test/steps")(self.one_step)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._give_sign: asyncio.Event | None = None

    async def block(self, job: JobContext) -> JsonValue:
        self.begun.set()
        self.free.wait(PATIENCE)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return None

    async def silent(self, job: JobContext) -> JsonValue:
        self._give_sign = asyncio.Event()
        self.begun.set()
        await self._give_sign.wait()
        await job.alive()
        self.sign_given.set()
        return await asyncio.Event().wait()

    async def one_step(self, job: JobContext) -> JsonValue:
        return await job.step.run("one", asyncio.sleep, 0)

    async def until(self, event: threading.Event) -> None:
        assert await asyncio.to_thread(event.wait, PATIENCE)

    async def sign(self) -> None:
        """Have the silent function give a sign of life."""
        assert self._loop is not None
        assert self._give_sign is not None
        self._loop.call_soon_threadsafe(self._give_sign.set)
        await self.until(self.sign_given)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the worker in a thread within the block."""
        thread = threading.Thread(target=asyncio.run, args=(self._run(),), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.free.set()
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop)
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self.worker.run())
        await asyncio.wait((self._task,))

    def _stop(self) -> None:
        assert self._loop is not None
        assert self._task is not None
        self._task.cancel()
        # The second one does not wait until jobs have been handed back.
        self._loop.call_later(0.05, self._task.cancel)
