"""procrastinate: PostgreSQL through psycopg, one job fetched and one acknowledged at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import procrastinate

from bench.job_contenders import NOOP, PAUSE, Payload, Shift, WorkerHandle
from bench.rivals.polling import until_none

CONNECTIONS = 32  # of the producer: as many as there are callers
UNFINISHED = "SELECT count(*) AS n FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"


def _app(address: str, connections: int) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=connections)
    return procrastinate.App(connector=connector)


class ProcrastinateSender:
    """Defers tasks by their name."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Queue them; one alone through the call for one."""
        deferrer = self._app.configure_task(work)
        if len(payloads) == 1:
            await deferrer.defer_async(**payloads[0].as_dict())
        else:
            await deferrer.batch_defer_async(*(each.as_dict() for each in payloads))

    async def settle(self, worker: WorkerHandle) -> None:
        """Wait until no job is to be done or being done."""

        async def count() -> int:
            return int((await self._app.connector.execute_query_one_async(UNFINISHED))["n"])

        await until_none(count)


@asynccontextmanager
async def sender(address: str) -> AsyncIterator[ProcrastinateSender]:
    """Connect, and install the schema at the first time."""
    async with _app(address, CONNECTIONS).open_async() as app:
        found = await app.connector.execute_query_one_async(
            "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS found"
        )
        if not found["found"]:
            await app.schema_manager.apply_schema_async()
        yield ProcrastinateSender(app)


async def work(shift: Shift) -> None:
    """Run jobs until asked to stop."""
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    app = _app(shift.address, 10)

    async def noop(number: int, **_: object) -> None:
        shift.ledger.begin(number)
        shift.ledger.end(number)

    async def pause(number: int, seconds: float, **_: object) -> None:
        shift.ledger.begin(number)
        await asyncio.sleep(seconds)
        shift.ledger.end(number)

    app.task(name=NOOP)(noop)
    app.task(name=PAUSE)(pause)
    async with app.open_async():
        running = asyncio.create_task(
            app.run_worker_async(concurrency=shift.concurrency, install_signal_handlers=False)
        )
        shift.ready()
        stopping = asyncio.create_task(shift.stop.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
