"""How long a job waits from being sent until it begins, at a steady rate."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

from bench.job_contenders import (
    DBOS,
    NOOP,
    PGQUEUER,
    PROCRASTINATE,
    Contender,
    Payload,
    Sender,
    those,
)
from bench.job_ledger import Ledger
from bench.job_stage import Stage, attempt, stage, until
from bench.pace import keep_time, percentile
from bench.report import OURS, Comparison, Findings

RATE = 200
TURNS = 3
SECONDS = 5.0  # of a turn
WARM_UP = 1.0
P50_BAR, P99_BAR = 5.0, 15.0
LONGEST = 60.0


async def run() -> Findings:
    """Take turns, so that a busy neighbour disturbs all of them."""
    found: dict[str, list[list[float]]] = {}
    failures: list[str] = []
    async with stage() as place:
        for contender in those(PGQUEUER, PROCRASTINATE, DBOS) * TURNS:
            work = _take_turn(place, contender, found)
            await attempt(contender, work, seconds=LONGEST, failures=failures)
    rows = [
        _row(f"Send to start, {RATE}/s: p50, ms", found, 50, P50_BAR),
        _row("  p95, ms", found, 95),
        _row("  p99, ms", found, 99, P99_BAR),
    ]
    note = (
        f"Send to start: one by one, medians of {TURNS} turns of {SECONDS:g} s; counted from when "
        "a job was due to be sent until it begins in the worker's process. Everybody's own "
        "wake-ups; dbos polls once a second, as it does by default."
    )
    return Findings(rows=rows, note=" ".join([note, *failures]))


async def _take_turn(
    place: Stage, contender: Contender, found: dict[str, list[list[float]]]
) -> None:
    waits = await waits_of(place, contender, rate=RATE, seconds=SECONDS, warm_up=WARM_UP)
    found.setdefault(contender.name, []).append(waits)


async def waits_of(
    place: Stage, contender: Contender, *, rate: int, seconds: float, warm_up: float
) -> list[float]:
    """Send jobs to a worker; return how long each waited until it began, in milliseconds.

    Those of the warm up are left out: connections are opened then, and plans made.
    """
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(contender.sender(await place.address(contender)))
        ledger = place.ledger(int(rate * (warm_up + seconds)))
        await stack.enter_async_context(
            place.worker(contender, ledger, concurrency=contender.concurrency)
        )
        return (await _send(sender, ledger, rate))[int(rate * warm_up) :]


async def _send(sender: Sender, ledger: Ledger, rate: int) -> list[float]:
    """Send a job for each line of the ledger and wait until all have ended."""
    loop = asyncio.get_running_loop()
    due_at: list[float] = []
    sending: list[asyncio.Task[None]] = []

    def start(number: int, due: float) -> None:
        due_at.append(due)
        sending.append(loop.create_task(sender.send(NOOP, [Payload(number=number)])))

    await asyncio.to_thread(keep_time, loop, start, rate, ledger.jobs / rate)
    await asyncio.gather(*sending)
    await until(lambda: ledger.count_ended() == ledger.jobs, seconds=LONGEST)
    # perf_counter and monotonic are one clock on Linux, which all processes share.
    assert abs(time.perf_counter() - time.monotonic()) < 0.001, "elsewhere they may not be"
    return [(ledger.began(number) - due) * 1000 for number, due in enumerate(due_at)]


def _row(
    what: str, found: dict[str, list[list[float]]], percent: float, bar: float | None = None
) -> Comparison:
    figures = {
        name: statistics.median(percentile(waits, percent) for waits in turns)
        for name, turns in found.items()
    }
    return Comparison(
        what=what,
        bar="" if bar is None else f"< {bar:g}",
        met=None if bar is None else figures[OURS] < bar,
        figures={name: f"{value:.1f}" for name, value in figures.items()},
    )
