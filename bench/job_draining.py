"""Letting one worker do all the jobs of a queue, and what that took."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.job_contenders import Contender, fill
from bench.job_stage import Stage, until
from bench.report import OURS, Comparison

LONGEST = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What it took, from the first job's begin until the last one's end was stored.

    Attributes:
        jobs: How many.
        seconds: How long.
        store: CPU seconds of the service and its store.
        worker: CPU seconds of the worker.

    """

    jobs: int
    seconds: float
    store: float
    worker: float

    @property
    def rate(self) -> float:
        """Jobs in a second."""
        return self.jobs / self.seconds


async def drain(
    place: Stage, contender: Contender, work: str, *, jobs: int, concurrency: int
) -> Drained:
    """Queue the jobs, then start a worker and wait until it has done them."""
    ledger = place.ledger(jobs)
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(contender.sender(await place.address(contender)))
        await fill(sender, work, jobs)
        store = place.store_cpu_seconds(contender)
        worker = await stack.enter_async_context(
            place.worker(contender, ledger, concurrency=concurrency)
        )
        await until(lambda: ledger.count_ended() == jobs, seconds=LONGEST)
        await sender.settle(worker)
        return Drained(
            jobs=jobs,
            seconds=time.monotonic() - ledger.first_begin(),
            store=place.store_cpu_seconds(contender) - store,
            worker=worker.cpu_seconds(),
        )


def rows_of(what: str, turns: Mapping[str, Sequence[Drained]], bar: int) -> list[Comparison]:
    """Return everybody's median turn; the rate of ours has to reach the bar."""
    found = {
        name: sorted(each, key=lambda turn: turn.rate)[len(each) // 2]
        for name, each in turns.items()
    }
    rates = {name: each.rate for name, each in found.items()}
    return [
        Comparison(
            what=f"{what}, jobs/s",
            bar=f"≥ {bar:,}",
            met=rates[OURS] >= bar,
            figures={name: f"{rate:,.0f}" for name, rate in rates.items()},
        ),
        Comparison(
            what="  CPU of servers, µs",
            figures={name: _per_job(each.store, each) for name, each in found.items()},
        ),
        Comparison(
            what="  CPU of the worker, µs",
            figures={name: _per_job(each.worker, each) for name, each in found.items()},
        ),
    ]


def _per_job(seconds: float, drained: Drained) -> str:
    return f"{seconds / drained.jobs * 1e6:,.0f}"
