"""dbos: PostgreSQL through SQLAlchemy and psycopg, durable workflows on a queue that is polled."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncpg
from dbos import DBOS, DBOSClient, DBOSConfig, run_dbos_database_migrations

from bench.job_contenders import (
    NOOP,
    PAUSE,
    STEPS,
    STEPS_OF_A_JOB,
    Payload,
    Shift,
    WorkerHandle,
)
from bench.rivals.polling import until_none

QUEUE = "bench"
VERSION = "bench"
UNFINISHED = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
CALLERS = 8


def _url(address: str) -> str:
    return address.replace("postgresql://", "postgresql+psycopg://")


def _config(address: str) -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": _url(address),
        "application_version": VERSION,
        "log_level": "ERROR",
    }


class DbosSender:
    """Enqueues workflows by their name; it has no call for many."""

    def __init__(
        self, client: DBOSClient, threads: ThreadPoolExecutor, connection: asyncpg.Connection
    ) -> None:
        self._client = client
        self._threads = threads
        self._connection = connection

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Queue them, several at a time."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, self._enqueue, work, payload)
                for payload in payloads
            )
        )

    def _enqueue(self, work: str, payload: Payload) -> None:
        options = {"workflow_name": work, "queue_name": QUEUE, "app_version": VERSION}
        self._client.enqueue(options, payload.as_dict())

    async def settle(self, worker: WorkerHandle) -> None:
        """Wait until no workflow is enqueued or pending."""
        await until_none(lambda: self._connection.fetchval(UNFINISHED))


@asynccontextmanager
async def sender(address: str) -> AsyncIterator[DbosSender]:
    """Connect, and install the schema at the first time."""
    await asyncio.to_thread(run_dbos_database_migrations, _url(address))
    connection = await asyncpg.connect(address)
    threads = ThreadPoolExecutor(CALLERS)
    client = await asyncio.to_thread(
        DBOSClient,
        system_database_url=_url(address),
        system_database_pool_size=CALLERS,
    )
    try:
        yield DbosSender(client, threads, connection)
    finally:
        threads.shutdown()
        client.destroy()
        await connection.close()


async def work(shift: Shift) -> None:
    """Run workflows until asked to stop."""
    ledger = shift.ledger

    async def noop(data: dict[str, float]) -> None:
        ledger.begin(int(data["number"]))
        ledger.end(int(data["number"]))

    async def pause(data: dict[str, float]) -> None:
        ledger.begin(int(data["number"]))
        await DBOS.sleep_async(data["seconds"])
        ledger.end(int(data["number"]))

    async def step(number: int) -> int:
        return number

    durable_step = DBOS.step(name="step")(step)

    async def steps(data: dict[str, float]) -> None:
        ledger.begin(int(data["number"]))
        for number in range(STEPS_OF_A_JOB):
            await durable_step(number)
        ledger.end(int(data["number"]))

    DBOS(config=_config(shift.address))
    DBOS.workflow(name=NOOP)(noop)
    DBOS.workflow(name=PAUSE)(pause)
    DBOS.workflow(name=STEPS)(steps)
    await asyncio.to_thread(_launch, shift.concurrency)
    shift.ready()
    await shift.stop.wait()
    await asyncio.to_thread(DBOS.destroy)


def _launch(concurrency: int) -> None:
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=concurrency or None)
