"""How fast jobs are queued: in batches, and one by one by many callers."""

import asyncio
import time
from dataclasses import dataclass
from itertools import count

from bench.job_contenders import (
    BATCH,
    NOOP,
    PGQUEUER,
    PROCRASTINATE,
    Contender,
    Payload,
    Sender,
    those,
)
from bench.job_stage import Stage, attempt, stage
from bench.report import OURS, Comparison, Findings

SECONDS = 4.0
WARM_UP = 1.0
CALLERS_OF_BATCHES, CALLERS_OF_ONE = 4, 32
BATCH_BAR, ONE_BAR = 10_000, 1_500
LONGEST = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Jobs in a second, and the seconds of CPU that servers spent on one."""

    rate: float
    cpu: float


async def run() -> Findings:
    """Let one contender after the other take what it can."""
    batches: dict[str, Sent] = {}
    alone: dict[str, Sent] = {}
    singles: dict[str, Sent] = {}
    failures: list[str] = []

    async def send(contender: Contender) -> None:
        name = contender.name
        batches[name] = await _send(place, contender, size=BATCH, callers=CALLERS_OF_BATCHES)
        alone[name] = await _send(place, contender, size=BATCH, callers=1)
        singles[name] = await _send(place, contender, size=1, callers=CALLERS_OF_ONE)

    async with stage() as place:
        for contender in those(PGQUEUER, PROCRASTINATE):
            await attempt(contender, send(contender), seconds=LONGEST, failures=failures)
    rows = [
        _rate(f"Sent in batches of {BATCH}, jobs/s", batches, BATCH_BAR),
        _cpu(batches),
        _rate("  by one caller, jobs/s", alone),
        _rate("Sent one by one, jobs/s", singles, ONE_BAR),
        _cpu(singles),
    ]
    note = (
        f"Send: batches by {CALLERS_OF_BATCHES} callers at the same time, then by one; single jobs "
        f"by {CALLERS_OF_ONE}; {SECONDS:g} s each, no worker. Each call returns when its jobs are "
        "durable."
    )
    return Findings(rows=rows, note=" ".join([note, *failures]))


async def _send(place: Stage, contender: Contender, *, size: int, callers: int) -> Sent:
    async with contender.sender(await place.address(contender)) as sender:
        await _call(sender, size=size, callers=callers, seconds=WARM_UP)
        cpu, began = place.store_cpu_seconds(contender), time.perf_counter()
        jobs = await _call(sender, size=size, callers=callers, seconds=SECONDS)
        seconds = time.perf_counter() - began
        return Sent(rate=jobs / seconds, cpu=(place.store_cpu_seconds(contender) - cpu) / jobs)


async def _call(sender: Sender, *, size: int, callers: int, seconds: float) -> int:
    """Let callers send, one call after the other each; return how many jobs they queued."""
    until = time.perf_counter() + seconds
    numbers = count()

    async def call() -> None:
        while time.perf_counter() < until:
            await sender.send(NOOP, [Payload(number=next(numbers)) for _ in range(size)])

    await asyncio.gather(*(call() for _ in range(callers)))
    return next(numbers)


def _rate(what: str, sent: dict[str, Sent], bar: int | None = None) -> Comparison:
    return Comparison(
        what=what,
        bar="" if bar is None else f"≥ {bar:,}",
        met=None if bar is None else sent[OURS].rate >= bar,
        figures={name: f"{one.rate:,.0f}" for name, one in sent.items()},
    )


def _cpu(sent: dict[str, Sent]) -> Comparison:
    return Comparison(
        what="  CPU of servers, µs",
        figures={name: f"{one.cpu * 1e6:,.0f}" for name, one in sent.items()},
    )
