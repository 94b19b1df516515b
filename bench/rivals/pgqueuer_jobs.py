"""pgqueuer: PostgreSQL through asyncpg, jobs fetched and acknowledged in batches."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, Queries, QueueManager

from bench.job_contenders import NOOP, PAUSE, Payload, Shift, WorkerHandle
from bench.rivals.polling import until_none

CONNECTIONS = 32  # of the producer: as many as there are callers


class PgqueuerSender:
    """Inserts jobs with one statement."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._queries = Queries(AsyncpgPoolDriver(pool))

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Queue them; one alone through the call for one."""
        data: list[bytes | None] = [json.dumps(each.as_dict()).encode() for each in payloads]
        if len(data) == 1:
            await self._queries.enqueue(work, data[0])
        else:
            await self._queries.enqueue([work] * len(data), data, [0] * len(data))

    async def settle(self, worker: WorkerHandle) -> None:
        """Wait until the queue is empty: what is acknowledged is deleted from it."""
        await until_none(lambda: self._pool.fetchval("SELECT count(*) FROM pgqueuer"))


@asynccontextmanager
async def sender(address: str) -> AsyncIterator[PgqueuerSender]:
    """Connect, and install the schema at the first time."""
    async with asyncpg.create_pool(address, min_size=1, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        if not await queries.has_table("pgqueuer"):
            await queries.install()
        yield PgqueuerSender(pool)


async def work(shift: Shift) -> None:
    """Run jobs until asked to stop; at most `concurrency` of them are picked at a time."""
    connection = await asyncpg.connect(shift.address)
    manager = QueueManager(Queries(AsyncpgDriver(connection)))

    async def noop(job: Job) -> None:
        number = json.loads(job.payload or b"")["number"]
        shift.ledger.begin(number)
        shift.ledger.end(number)

    async def pause(job: Job) -> None:
        data = json.loads(job.payload or b"")
        shift.ledger.begin(data["number"])
        await asyncio.sleep(data["seconds"])
        shift.ledger.end(data["number"])

    manager.entrypoint(NOOP)(noop)
    manager.entrypoint(PAUSE)(pause)
    # It wants room for two batches.
    running = asyncio.create_task(
        manager.run(
            batch_size=max(1, shift.concurrency // 2), max_concurrent_tasks=shift.concurrency
        )
    )
    shift.ready()
    stopping = asyncio.create_task(shift.stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    manager.shutdown.set()
    await running
