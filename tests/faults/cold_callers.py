"""Two replicas of the cache and four processes of callers, each a process as in production."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import cache_process, port_of

SCRIPT = Path(__file__).with_name("cold_callers_process.py")
REPLICAS, PROCESSES, CALLERS = 2, 4, 25
EVERYBODY = PROCESSES * CALLERS
PATIENCE = 60.0


class CallersProcess:
    """One process of callers; what it says is read as it comes."""

    def __init__(self, process: Process, more: asyncio.Condition) -> None:
        self.lines: list[dict[str, Any]] = []
        self.rounds = 0
        self._process = process
        self._more = more
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, order: dict[str, object]) -> None:
        """Begin a round."""
        self.rounds += 1
        self._tell(order)

    def finish(self) -> None:
        """Let a computation end that waits for this."""
        self._tell({"finish": True})

    def _tell(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return what it has said of one kind so far."""
        return [line for line in self.lines if line["event"] == event]

    async def says(self, event: str) -> dict[str, Any]:
        """Wait until it has said this as often as there were rounds, or once; return the last."""
        number = max(self.rounds, 1)
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(
                lambda: len(self.said(event)) >= number or self._reader.done()
            )
        assert len(self.said(event)) >= number, f"callers ended before they said {event!r}"
        return self.said(event)[number - 1]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        """Kill it, whatever it does, and hear the last of it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._more:
                self.lines.append(json.loads(line))
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All processes, and the Redis that the replicas share.

    Attributes:
        callers: The processes that ask.
        more: Is notified of whatever one of them says.
        ops_ports: Where the replicas show their metrics.
        store: A connection to their Redis.

    """

    callers: list[CallersProcess]
    more: asyncio.Condition
    ops_ports: list[int]
    store: "redis.asyncio.Redis"

    def begin(self, **order: object) -> None:
        """Let everybody ask at once: all of them wait for this line."""
        for process in self.callers:
            process.begin(order)

    async def round(self, **order: object) -> list[dict[str, Any]]:
        """Let everybody ask, and return their answers."""
        self.begin(**order)
        return await self.answers(*self.callers)

    async def answers(self, *processes: CallersProcess) -> list[dict[str, Any]]:
        """Wait until all callers of these processes have been answered."""
        return [await process.says("answered") for process in processes]

    async def computing(self, number: int) -> CallersProcess:
        """Wait for a computation to begin, of all there ever were; returns who computes."""
        async with asyncio.timeout(PATIENCE), self.more:
            await self.more.wait_for(lambda: len(self.computations()) >= number)
        pid = self.computations()[number - 1]["pid"]
        return next(process for process in self.callers if process.pid == pid)

    def computations(self) -> list[dict[str, Any]]:
        """Return the beginnings of computations, the first one first."""
        said = [line for process in self.callers for line in process.said("computing")]
        return sorted(said, key=lambda line: line["at"])

    async def held(self, count: int) -> None:
        """Wait until the replicas hold so many callers."""
        async with asyncio.timeout(PATIENCE):
            while sum([await _held_by(port) for port in self.ops_ports]) != count:
                pass

    async def commands(self) -> Counter[str]:
        """Return how often Redis ran what looks and leases are made of."""
        found = await self.store.info("commandstats")
        names = ("get", "evalsha", "eval")
        return Counter({name: found.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names})


async def _held_by(ops_port: int) -> int:
    text = (await ask(ops_port, "/metrics")).body.decode()
    values = [line.split()[1] for line in text.splitlines() if line.startswith(_WAITERS)]
    return int(float(values[0]))


_WAITERS = "mainstay_cache_waiters "


@asynccontextmanager
async def stampede_stage(redis_url: str) -> AsyncIterator[Stage]:
    """Run everything within the block; when it begins all callers are connected."""
    async with AsyncExitStack() as running:
        store = await running.enter_async_context(redis.asyncio.Redis.from_url(redis_url))
        replicas = [
            await running.enter_async_context(cache_process(redis_url=redis_url))
            for _ in range(REPLICAS)
        ]
        ready = [await replica.line("service_ready", within=PATIENCE) for replica in replicas]
        more = asyncio.Condition()
        callers = [
            await running.enter_async_context(_callers(ready[number % REPLICAS]["address"], more))
            for number in range(PROCESSES)
        ]
        for process in callers:
            await process.says("ready")
        yield Stage(
            callers=callers,
            more=more,
            ops_ports=[port_of(line["operations"]) for line in ready],
            store=store,
        )


@asynccontextmanager
async def _callers(address: str, more: asyncio.Condition) -> AsyncIterator[CallersProcess]:
    arguments = (sys.executable, str(SCRIPT), address, str(CALLERS))
    process = CallersProcess(
        await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE), more
    )
    try:
        yield process
    finally:
        await process.end()
