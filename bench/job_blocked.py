"""Whether jobs that cannot begin hold up those that can."""

import asyncio

from bench.job_contenders import BATCH, CAPPED, MAINSTAY, UNSERVED, Payload, Sender
from bench.job_latency import waits_of
from bench.job_stage import Stage, stage
from bench.pace import percentile
from bench.report import OURS, Comparison, Findings

BLOCKED_JOBS = 100_000
CALLERS = 4
RATE = 200
SECONDS = 3.0
WARM_UP = 1.0
ROUNDS = 3
BAR = 2.0


async def run() -> Findings:
    """Take turns between two services, so that a busy neighbour disturbs both."""
    free: list[float] = []
    behind: list[float] = []
    async with stage() as empty, stage() as full:
        async with MAINSTAY.sender(await full.address(MAINSTAY)) as sender:
            await _block(sender)
        for _ in range(ROUNDS):
            free += await _waits(empty)
            behind += await _waits(full)
    return _findings(free, behind)


async def _block(sender: Sender) -> None:
    """Queue jobs that cannot begin, half of them for one reason and half for the other."""
    batches = iter(range(0, BLOCKED_JOBS, BATCH))

    async def call() -> None:
        for first in batches:
            work = UNSERVED if first < BLOCKED_JOBS / 2 else CAPPED
            payloads = [Payload(number=number) for number in range(first, first + BATCH)]
            await sender.send(work, payloads)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _waits(place: Stage) -> list[float]:
    return await waits_of(place, MAINSTAY, rate=RATE, seconds=SECONDS, warm_up=WARM_UP)


def _findings(free: list[float], behind: list[float]) -> Findings:
    ratio = percentile(behind, 50) / percentile(free, 50)
    rows = [
        Comparison(
            what=f"Start behind {BLOCKED_JOBS:,} blocked / none",
            bar=f"< {BAR:g} ×",
            met=ratio < BAR,
            figures={OURS: f"{ratio:.2f} ×"},
        ),
        Comparison(
            what="  p50 behind; none, ms",
            figures={OURS: f"{percentile(behind, 50):.1f}; {percentile(free, 50):.1f}"},
        ),
        Comparison(
            what="  p99 behind; none, ms",
            figures={OURS: f"{percentile(behind, 99):.1f}; {percentile(free, 99):.1f}"},
        ),
    ]
    note = (
        f"Blocked: {RATE} jobs a second of one function; of those queued before, half are of a "
        "function that no worker serves and half of one of which this worker may run one at a "
        f"time, which does not end; {ROUNDS} turns of {SECONDS:g} s on each of two services."
    )
    return Findings(rows=rows, note=note)
