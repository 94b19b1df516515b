"""Steady calls through the SDK on all services, each noted with what became of it.

Calls begin at their rate whether or not earlier ones have ended, as requests of users do.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from mainstay import Mainstay
from mainstay.cache import Hit
from mainstay.errors import MainstayError
from mainstay.jobs import JobState
from tests.faults.jobs_suite.load import Load, Sent
from tests.faults.suite.history import Call, Decision, History, Invalidation, Read, Value
from tests.faults.suite.promises import COUNTERS
from tests.faults.suite.stage import ENDPOINTS, REPLICAS, SERVICES, Stage
from tests.faults.suite.wiring import CALLERS

DEADLINE = 2.0
NAMESPACE = "faults"
KEYS = tuple(f"{group}/{number}" for group in "abcd" for number in range(6))
TENANT = "acme"
STALL_SECONDS = 0.25
MOST_AT_ONCE = 60
# A job that is sent and waited for may take as long as sending and running it.
JOB_SECONDS = 6.0
RATES = {
    "cache read": 8.0,
    "cache write": 4.0,
    "cache compute": 3.0,
    "cache invalidation": 2.0,
    "limit check": 12.0,
    "job sent": 3.0,
    "job done": 2.0,
    "health report": 2.0,
    "all healthy": 1.0,
}
"""Calls of each kind in a second. `all healthy` succeeds when the report says so."""

Make = Callable[[Mainstay, Call], Awaitable[None]]


class Traffic:
    """Callers: some prefer the first replica of each service, some the second."""

    def __init__(self, stage: Stage, load: Load, rng: random.Random) -> None:
        self.history = History()
        self.skipped = 0
        self._stage = stage
        self._load = load
        self._rng = rng
        self._numbers = itertools.count(1)
        self._callers: list[Mainstay] = []
        self._old: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._kinds: dict[str, Make] = {
            "cache read": self._read,
            "cache write": self._write,
            "cache compute": self._compute,
            "cache invalidation": self._invalidate,
            "limit check": self._check,
            "job sent": self._send,
            "job done": self._do,
            "health report": self._report,
            "all healthy": self._look,
        }

    async def renew(self) -> None:
        """Have new callers, which begin with the replica that they prefer; old ones say goodbye."""
        old, self._callers = self._callers, []
        for first in REPLICAS:
            targets = {
                service: await self._stage.target(CALLERS, service, first=first)
                for service in SERVICES
            }
            self._callers.append(caller_of(targets, timeout=DEADLINE))
        for caller in old:
            task = asyncio.create_task(_close_later(caller))
            self._old.add(task)
            task.add_done_callback(self._old.discard)

    async def run(self) -> None:
        """Call until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_the_loop())
            for kind, rate in RATES.items():
                group.create_task(self._call_steadily(kind, rate))

    async def close(self) -> None:
        """Let what is under way end, and close all connections."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await asyncio.gather(*self._old, return_exceptions=True)
        async with AsyncExitStack() as stack:
            for caller in self._callers:
                stack.push_async_callback(caller.close)

    async def _call_steadily(self, kind: str, rate: float) -> None:
        began = time.monotonic() + self._rng.random() / rate
        mine: set[asyncio.Task[None]] = set()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            if len(mine) >= MOST_AT_ONCE:
                self.skipped += 1
                continue
            task = asyncio.create_task(self._call(kind, self._callers[number % len(REPLICAS)]))
            for tasks in (mine, self._under_way):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _call(self, kind: str, caller: Mainstay) -> None:
        deadline = JOB_SECONDS + DEADLINE if kind == "job done" else DEADLINE
        with self.history.call(kind, deadline) as call:
            try:
                await self._kinds[kind](caller, call)
                call.outcome = call.outcome or "ok"
            except MainstayError as error:
                call.outcome = error.reason or type(error).__name__
            except Exception as error:
                call.outcome = f"not of the SDK: {type(error).__name__}: {error}"
                raise

    async def _watch_the_loop(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            late = time.monotonic() - began - 0.05
            if late > STALL_SECONDS:
                self.history.stalls.append((began, late))

    async def _read(self, caller: Mainstay, call: Call) -> None:
        key = self._rng.choice(KEYS)
        found = await caller.cache.get(NAMESPACE, key)
        if isinstance(found, Hit) and found.value is not None:
            value = found.value.decode()
            self.history.reads.append(Read(key=key, value=value, began=call.began))

    async def _write(self, caller: Mainstay, call: Call) -> None:
        key = self._rng.choice(KEYS)
        value = f"{key}#{next(self._numbers)}"
        await caller.cache.set(NAMESPACE, key, value.encode(), tags=[_tag(key)])
        self.history.values[value] = Value(key=key, settled=time.monotonic())

    async def _compute(self, caller: Mainstay, call: Call) -> None:
        key = self._rng.choice(KEYS)

        async def compute() -> bytes:
            value = f"{key}#{next(self._numbers)}"
            self.history.values[value] = Value(key=key, settled=time.monotonic())
            await asyncio.sleep(0.01)
            return value.encode()

        await caller.cache.get_or_compute(
            NAMESPACE, key, compute, tags=[_tag(key)], on_unavailable="raise", timeout=DEADLINE
        )

    async def _invalidate(self, caller: Mainstay, call: Call) -> None:
        key = self._rng.choice(KEYS)
        cache = caller.cache
        match self._rng.randrange(4):
            case 0:
                await cache.delete(NAMESPACE, key)
                keys = {key}
            case 1:
                await cache.invalidate_keys(NAMESPACE, [key])
                keys = {key}
            case 2:
                await cache.invalidate_tags([_tag(key)])
                keys = {each for each in KEYS if _tag(each) == _tag(key)}
            case _:
                await cache.invalidate_prefix(NAMESPACE, key[:2])
                keys = {each for each in KEYS if each[:2] == key[:2]}
        self.history.invalidations.append(
            Invalidation(keys=frozenset(keys), began=call.began, ended=time.monotonic())
        )

    async def _check(self, caller: Mainstay, call: Call) -> None:
        rule = self._rng.choice([*ENDPOINTS])
        decision = await caller.ratelimit.check("user:1", ENDPOINTS[rule])
        mode = decision.failure_mode
        if mode is not None:
            call.outcome = "degraded"
        self.history.decisions.append(
            Decision(
                rule=rule,
                began=call.began,
                ended=time.monotonic(),
                allowed=decision.allowed,
                mode=COUNTERS if mode is None else mode.value,
            )
        )

    async def _send(self, caller: Mainstay, call: Call) -> None:
        await self._accepted(caller)

    async def _do(self, caller: Mainstay, call: Call) -> None:
        job_id = await self._accepted(caller)
        job = await caller.jobs.wait_for_job(job_id, timeout=JOB_SECONDS)
        if job.state is not JobState.SUCCEEDED:
            call.outcome = job.state.value

    async def _accepted(self, caller: Mainstay) -> str:
        number = -next(self._numbers)
        at = time.monotonic()
        job = await caller.jobs.enqueue("noop", {"n": number}, idempotency_key=f"t{number}")
        self._load.accepted[job.job_id] = Sent(
            n=number, function="noop", tenant=TENANT, at=at, ends=JobState.SUCCEEDED
        )
        return job.job_id

    async def _report(self, caller: Mainstay, call: Call) -> None:
        await caller.health.get_report()

    async def _look(self, caller: Mainstay, call: Call) -> None:
        report = await caller.health.get_report()
        if report.state.value != "healthy":
            call.outcome = report.state.value


def caller_of(targets: Mapping[str, str], *, timeout: float) -> Mainstay:
    """Return clients of all services, which are at these targets."""
    return Mainstay(
        cache=targets["cache"],
        ratelimit=targets["ratelimit"],
        jobs=targets["jobs"],
        health=targets["health"],
        tenant=TENANT,
        timeout=timeout,
    )


async def _close_later(caller: Mainstay) -> None:
    """Close when all it was asked is over."""
    await asyncio.sleep(JOB_SECONDS + DEADLINE + 1.0)
    await caller.close()


def _tag(key: str) -> str:
    return f"tag-{key[-1]}"
