"""Whether a tenant with few jobs waits for one with many."""

import time
from contextlib import AsyncExitStack

from bench import job_mainstay
from bench.job_contenders import MAINSTAY, PAUSE, Payload, fill
from bench.job_stage import Stage, stage, until
from bench.report import OURS, Comparison, Findings

MANY, FEW = 10_000, 10
JOB_SECONDS = 0.05
CONCURRENCY = 50
BAR = 2.0
EVERYBODY = "*"


async def run() -> Findings:
    """Send the few when the many are queued and being worked on."""
    async with stage() as place:
        seconds, waiting = await _share(place)
    row = Comparison(
        what=f"{MANY:,} jobs, then {FEW} of another tenant: those done, s",
        bar=f"≤ {BAR:g}",
        met=seconds <= BAR,
        figures={OURS: f"{seconds:.2f}"},
    )
    note = (
        f"Tenants: jobs of {JOB_SECONDS * 1000:g} ms, {CONCURRENCY} at a time, by one worker for "
        f"all tenants; {waiting:,} of the {MANY:,} had not ended when the {FEW} were sent, "
        f"which is {waiting * JOB_SECONDS / CONCURRENCY:.0f} s of work."
    )
    return Findings(rows=[row], note=note)


async def _share(place: Stage) -> tuple[float, int]:
    """Return how long the few took, and how many of the many were still to be done."""
    ledger = place.ledger(MANY + FEW)
    address = await place.address(MAINSTAY)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            place.worker(MAINSTAY, ledger, concurrency=CONCURRENCY, tenant=EVERYBODY)
        )
        large = await stack.enter_async_context(job_mainstay.sender(address, "large"))
        small = await stack.enter_async_context(job_mainstay.sender(address, "small"))
        await fill(large, PAUSE, MANY, seconds=JOB_SECONDS)
        waiting = MANY - ledger.count_ended()
        few = range(MANY, MANY + FEW)
        sent = time.monotonic()
        await small.send(PAUSE, [Payload(number=number, seconds=JOB_SECONDS) for number in few])
        await until(lambda: all(ledger.ended(number) for number in few), seconds=60.0)
        return max(ledger.ended(number) for number in few) - sent, waiting
