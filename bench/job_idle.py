"""What a worker that waits for jobs costs the database."""

import asyncio
from contextlib import AsyncExitStack

from bench.job_contenders import DBOS, PGQUEUER, PROCRASTINATE, Contender, those
from bench.job_stage import Stage, attempt, stage
from bench.report import OURS, Comparison, Findings

SECONDS = 60.0
SETTLE = 10.0
"""Until what begins with a start is over, and PostgreSQL has counted it."""
BAR = 60
START_TIMEOUT = 60.0
NOBODY = "bench_nobody"
COUNT = "SELECT datname, xact_commit + xact_rollback AS transactions FROM pg_stat_database"


async def run() -> Findings:
    """Let everybody wait at the same time, each in a database of its own."""
    failures: list[str] = []
    contenders = those(PGQUEUER, PROCRASTINATE, DBOS)
    async with stage() as place, AsyncExitStack() as stack:
        databases = {NOBODY: NOBODY}
        await place.query(f"CREATE DATABASE {NOBODY}")
        for contender in contenders:
            if await attempt(
                contender, _wait(place, contender, stack), seconds=START_TIMEOUT, failures=failures
            ):
                databases[contender.name] = place.database_of(contender)
        await asyncio.sleep(SETTLE)
        before = await _transactions(place)
        await asyncio.sleep(SECONDS)
        after = await _transactions(place)
    per_minute = {
        name: (after[database] - before[database]) * 60 / SECONDS
        for name, database in databases.items()
    }
    nobody = per_minute.pop(NOBODY)
    row = Comparison(
        what="Idle: transactions a minute",
        bar=f"< {BAR}",
        met=per_minute[OURS] < BAR,
        figures={name: f"{count:.0f}" for name, count in per_minute.items()},
    )
    note = (
        f"Idle: by pg_stat_database over {SECONDS:g} s; ours is one service process and one worker,"
        f" the others' a worker. A database that nobody uses had {nobody:.0f}."
    )
    return Findings(rows=[row], note=" ".join([note, *failures]))


async def _wait(place: Stage, contender: Contender, stack: AsyncExitStack) -> None:
    """Start a worker; the producer that made the schema leaves."""
    async with contender.sender(await place.address(contender)):
        pass
    await stack.enter_async_context(place.worker(contender, place.ledger(1), concurrency=10))


async def _transactions(place: Stage) -> dict[str, int]:
    rows = await place.query(COUNT)
    return {row["datname"]: row["transactions"] for row in rows if row["datname"] is not None}
