"""Our half of the measurements: a producer and a worker on the public SDK."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.job_contenders import (
    CAPPED,
    NOOP,
    PAUSE,
    STEPS,
    STEPS_OF_A_JOB,
    UNSERVED,
    Payload,
    Shift,
    WorkerHandle,
)
from bench.job_ledger import Ledger
from mainstay.channel import Channel
from mainstay.jobs import Event, JobClient, JobContext, Worker

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["number", "seconds", "text"],
    "properties": {
        "number": {"type": "integer"},
        "seconds": {"type": "number"},
        "text": {"type": "string"},
    },
}


def event_name(work: str) -> str:
    """Return the event that starts such jobs."""
    return f"bench/{work}"


class MainstaySender:
    """Sends events, up to 100 in a call."""

    def __init__(self, client: JobClient) -> None:
        self._client = client

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Send them as one call."""
        await self._client.send_events(
            [Event(name=event_name(work), data=each.as_dict()) for each in payloads]
        )

    async def settle(self, worker: WorkerHandle) -> None:
        """Stop the worker, which returns when the last end is acknowledged."""
        await worker.stop()


@asynccontextmanager
async def sender(address: str, tenant: str | None = None) -> AsyncIterator[MainstaySender]:
    """Connect to the service."""
    async with Channel(address, tenant=tenant, timeout=30.0) as channel:
        yield MainstaySender(JobClient(channel))


async def declare(address: str, ledger: Ledger, tenant: str | None = None) -> None:
    """Let a worker come and go: events start the functions that are declared, now or later.

    One of them is served by no worker after that: its jobs do nothing but wait.
    """
    worker = Worker(address, name="bench-declares", tenant=tenant, concurrency=1)
    _register(worker, ledger)

    @worker.function("bench-unserved", on=event_name(UNSERVED))
    async def unserved(ctx: JobContext) -> None:
        raise AssertionError(f"job {ctx.id} has begun, though nobody serves its function")

    running = asyncio.create_task(worker.run())
    await worker.ready()
    worker.stop()
    await running


async def work(shift: Shift) -> None:
    """Run jobs until asked to stop, then drain."""
    worker = Worker(shift.address, name="bench", tenant=shift.tenant, concurrency=shift.concurrency)
    _register(worker, shift.ledger)
    running = asyncio.create_task(worker.run())
    await worker.ready()
    shift.ready()
    stopping = asyncio.create_task(shift.stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    worker.stop()
    await running


def _register(worker: Worker, ledger: Ledger) -> None:
    @worker.function("bench-noop", on=event_name(NOOP))
    async def noop(ctx: JobContext) -> None:
        ledger.begin(ctx.data["number"])
        ledger.end(ctx.data["number"])

    @worker.function("bench-pause", on=event_name(PAUSE))
    async def pause(ctx: JobContext) -> None:
        ledger.begin(ctx.data["number"])
        await asyncio.sleep(ctx.data["seconds"])
        ledger.end(ctx.data["number"])

    @worker.function("bench-steps", on=event_name(STEPS))
    async def steps(ctx: JobContext) -> None:
        ledger.begin(ctx.data["number"])
        for number in range(STEPS_OF_A_JOB):
            await ctx.step.run(f"step-{number}", _step, number)
        ledger.end(ctx.data["number"])

    @worker.function("bench-capped", on=event_name(CAPPED), concurrency=1)
    async def capped(_ctx: JobContext) -> None:
        await asyncio.Event().wait()


async def _step(number: int) -> int:
    return number
