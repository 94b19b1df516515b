"""Both replicas of each service restarted in turn, in order, under 300 calls a second."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mainstay import Mainstay
from mainstay.errors import MainstayError
from mainstay.jobs import JobState
from tests.faults.jobs_suite.load import Load, Sent
from tests.faults.jobs_suite.process import Process
from tests.faults.suite.stage import REPLICAS, SERVICES, Stage, replicas
from tests.faults.suite.traffic import TENANT, caller_of

RATE = 300.0
CALM = 1.0
FREE = "free"
"""An endpoint without a limit."""

Make = Callable[[Mainstay, int], Awaitable[object]]


@dataclass(slots=True, kw_only=True)
class Rolling:
    """What came of it; `failures` by service, error and message."""

    seconds: float = 0.0
    calls: int = 0
    restarts: int = 0
    longest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


class _Rolling:
    """Callers at a rate, each kind of calls in its turn, preferring either replica."""

    def __init__(self, stage: Stage, load: Load, rate: float) -> None:
        self.found = Rolling()
        self._load = load
        self._rate = rate
        self._callers = [
            caller_of({name: stage.direct(name, first=n) for name in SERVICES}, timeout=5.0)
            for n in REPLICAS
        ]
        self._makes: dict[str, Make] = {
            "cache": self._read,
            "ratelimit": lambda caller, n: caller.ratelimit.check(f"user:{n % 50}", FREE),
            "jobs": self._send,
            "health": lambda caller, _: caller.health.get_report(),
        }

    async def run(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for number in itertools.count():
                await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
                calls.create_task(self._call(number))

    async def close(self) -> None:
        for caller in self._callers:
            await caller.close()

    async def _call(self, number: int) -> None:
        service = [*self._makes][number % len(self._makes)]
        caller = self._callers[number // len(self._makes) % len(self._callers)]
        began = time.monotonic()
        try:
            await self._makes[service](caller, number)
        except MainstayError as error:
            self.found.failures[f"{service}: {type(error).__name__}: {error.message[:120]}"] += 1
        self.found.calls += 1
        self.found.longest = max(self.found.longest, time.monotonic() - began)

    async def _read(self, caller: Mainstay, number: int) -> None:
        if number % 3:
            await caller.cache.get("rolling", f"k{number % 97}")
        else:
            await caller.cache.set("rolling", f"k{number % 97}", b"value")

    async def _send(self, caller: Mainstay, number: int) -> None:
        data, at = {"n": -10_000_000 - number}, time.monotonic()
        job = await caller.jobs.enqueue("noop", data, idempotency_key=f"rolling-{number}")
        self._load.accepted[job.job_id] = Sent(
            n=number, function="noop", tenant=TENANT, at=at, ends=JobState.SUCCEEDED
        )


async def roll(stage: Stage, load: Load, *, rate: float = RATE, calm: float = CALM) -> Rolling:
    """Restart everything, one replica after the other, each when the one before serves again."""
    rolling = _Rolling(stage, load, rate)
    calling = asyncio.create_task(rolling.run())
    began = time.monotonic()
    try:
        await asyncio.sleep(calm)
        for service in SERVICES:
            for name in replicas(service):
                await stage.stop(name)
                await stage.start(name)
                process = stage.parties[name]
                assert isinstance(process, Process)
                await process.answers()
                rolling.found.restarts += 1
                await asyncio.sleep(calm)
    finally:
        rolling.found.seconds = time.monotonic() - began
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await rolling.close()
    return rolling.found
