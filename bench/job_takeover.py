"""When the jobs of a worker that hangs, connected but silent, go to another."""

import signal
import time
from contextlib import AsyncExitStack

from bench.job_contenders import MAINSTAY, PAUSE, Payload
from bench.job_stage import Stage, stage, until
from bench.report import OURS, Comparison, Findings

LEASE = 30.0
"""The service's default, JOBS_SESSION_LEASE."""
BAR = LEASE + 1.0
JOB_SECONDS = 1.0


async def run() -> Findings:
    """Stop a worker right after it has connected, when its lease is longest."""
    async with stage() as place:
        seconds = await _take_over(place)
    row = Comparison(
        what="Silent worker: its job elsewhere after, s",
        bar=f"≤ {BAR:g}",
        met=seconds <= BAR,
        figures={OURS: f"{seconds:.1f}"},
    )
    note = (
        "Takeover: a worker is stopped with SIGSTOP while it has a job, until that begins on "
        f"another. The lease of {LEASE:g} s counts from the last heartbeat, here a moment before."
    )
    return Findings(rows=[row], note=note)


async def _take_over(place: Stage) -> float:
    """Return the seconds from the stop until the job began again."""
    ledger = place.ledger(1)
    address = await place.address(MAINSTAY)
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(MAINSTAY.sender(address))
        await sender.send(PAUSE, [Payload(number=0, seconds=JOB_SECONDS)])
        silent = await stack.enter_async_context(place.worker(MAINSTAY, ledger, concurrency=1))
        await until(lambda: ledger.runs(0) == 1, seconds=10.0)
        silent.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await stack.enter_async_context(place.worker(MAINSTAY, ledger, concurrency=1))
        await until(lambda: ledger.runs(0) == 2, seconds=3 * LEASE)
        return ledger.began(0) - stopped
