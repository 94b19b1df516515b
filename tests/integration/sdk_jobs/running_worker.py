"""Runs a worker within a block of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mainstay.jobs import Worker

PATIENCE = 10.0


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator["asyncio.Task[None]"]:
    """Run the worker within the block and stop it afterwards."""
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=0.05)
        task.cancel()  # the second one does not wait until jobs have been handed back
        await asyncio.gather(task, return_exceptions=True)
