"""How long jobs take whose worker is killed in the middle of them."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.job_contenders import (
    DBOS,
    DRAMATIQ,
    MAINSTAY,
    PAUSE,
    PGQUEUER,
    PROCRASTINATE,
    Contender,
    fill,
    those,
)
from bench.job_stage import Stage, attempt, stage, until
from bench.report import OURS, Comparison, Findings

JOBS, CONCURRENCY = 200, 50
JOB_SECONDS = 1.0
KILL_AFTER = 1.5 * JOB_SECONDS
"""From the first begin: a quarter of the jobs has ended by then, another is in hand."""
BAR = 12.0
PATIENCE = 60.0
LONGEST = PATIENCE + 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What followed the kill; `seconds` are None when the end was not waited for."""

    seconds: float | None
    done: int
    begun_again: int


async def run() -> Findings:
    """Kill ours first, then all rivals at once: they mostly wait."""
    found: dict[str, Recovery] = {}
    failures: list[str] = []

    async def kill(contender: Contender) -> None:
        work = _recover(place, contender, found)
        await attempt(contender, work, seconds=LONGEST, failures=failures)

    async with stage() as place:
        await kill(MAINSTAY)
        rivals = those(PGQUEUER, PROCRASTINATE, DBOS, DRAMATIQ)[1:]
        await asyncio.gather(*(kill(rival) for rival in rivals))
    return _findings(found, failures)


async def _recover(place: Stage, contender: Contender, found: dict[str, Recovery]) -> None:
    ledger = place.ledger(JOBS)
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(contender.sender(await place.address(contender)))
        await fill(sender, PAUSE, JOBS, seconds=JOB_SECONDS)
        async with place.worker(contender, ledger, concurrency=CONCURRENCY) as first:
            await until(lambda: ledger.count_begun() > 0, seconds=PATIENCE)
            await asyncio.sleep(KILL_AFTER)
            first.signal(signal.SIGKILL)
            killed = time.monotonic()
        await stack.enter_async_context(place.worker(contender, ledger, concurrency=CONCURRENCY))
        try:
            await until(lambda: ledger.count_ended() == JOBS, seconds=PATIENCE)
            seconds = ledger.last_end() - killed
        except TimeoutError:
            seconds = None
        begins = sum(ledger.runs(number) for number in range(JOBS))
        found[contender.name] = Recovery(
            seconds=seconds, done=ledger.count_ended(), begun_again=begins - ledger.count_begun()
        )


def _findings(found: dict[str, Recovery], failures: list[str]) -> Findings:
    ours = found[OURS]
    rows = [
        Comparison(
            what=f"{JOBS} jobs, worker killed: all done, s",
            bar=f"≤ {BAR:g}",
            met=ours.seconds is not None and ours.seconds <= BAR,
            figures={name: _seconds(one) for name, one in found.items()},
        ),
        Comparison(
            what="  jobs done by then",
            figures={name: f"{one.done}" for name, one in found.items()},
        ),
        Comparison(
            what="  begun again",
            figures={name: f"{one.begun_again}" for name, one in found.items()},
        ),
    ]
    note = (
        f"Recovery: jobs of {JOB_SECONDS:g} s, {CONCURRENCY} at a time; the worker is killed with "
        f"SIGKILL {KILL_AFTER:g} s after the first began and another started at once; seconds from "
        f"the kill, for at most {PATIENCE:g} s. Everybody's defaults: procrastinate wants stalled "
        "jobs retried by a task of the user's, dbos resumes those of a worker of the same name, "
        "dramatiq those of a worker that was silent for a minute."
    )
    return Findings(rows=rows, note=" ".join([note, *failures]))


def _seconds(one: Recovery) -> str:
    return f"> {PATIENCE:g}" if one.seconds is None else f"{one.seconds:.1f}"
