"""Workers for the real service, and a way to hold a handler where a test wants it."""

import asyncio
from collections.abc import Awaitable, Callable

from mainstay.jobs import JobClient, JobContext, JsonValue, Worker

PATIENCE = 20.0

Handler = Callable[[JobContext], Awaitable[JsonValue]]


def worker_for(address: str, handler: Handler, **options: float) -> Worker:
    """Return a worker that runs `handler` whenever `test/work` happens."""
    worker = Worker(
        address,
        name="worker-1",
        tenant="*",
        drain_seconds=options.get("drain_seconds", 10),
        concurrency=2,
    )
    worker.function(
        "work",
        on="test/work",
        initial_backoff=options.get("initial_backoff", 0.05),
        retries=int(options.get("retries", 2)),
    )(handler)
    return worker


async def send(jobs: JobClient, **data: JsonValue) -> str:
    """Send the event and return its job."""
    (job_id,) = (await jobs.send_event("test/work", data)).job_ids
    return job_id


class Gate:
    """Lets a handler say where it is and wait for the test."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._open = asyncio.Event()

    async def wait(self) -> None:
        """Say that the gate is reached, and wait until it opens."""
        self._reached.set()
        await self._open.wait()

    async def reached(self) -> None:
        """Wait until the handler is at the gate."""
        await asyncio.wait_for(self._reached.wait(), PATIENCE)

    def open(self) -> None:
        """Let the handler go on."""
        self._open.set()
