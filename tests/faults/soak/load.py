"""A mixed load on all four services through the SDK: calls that work, that fail, and that stop.

Leaks hide where calls end otherwise than planned: so one act in five is refused, cancelled, cut
off, or a connection of its own. Keys, subjects and tenants are bounded: what grows is not data.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from cli.layout import SERVICES, Layout
from mainstay import Mainstay, Worker
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from mainstay.errors import MainstayError, ValidationError
from mainstay.jobs import JobContext

TENANTS = tuple(f"tenant-{number}" for number in range(8))
KEYS = 500
MOST_AT_ONCE = 200
LEAVES_AFTER = 0.01
WATCHES_FOR = 0.05


@dataclass(slots=True)
class Counts:
    """What became of the acts, by name of the act or of the error."""

    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    left_out: int = 0


class Load:
    """Acts at a steady rate; `counts` says what became of them."""

    def __init__(self, suites: list[Mainstay], layout: Layout, rng: random.Random) -> None:
        self.counts = Counts()
        self._suites = suites
        self._layout = layout
        self._rng = rng
        self._acts = _weighted(self)

    async def run(self, *, rate: float, seconds: float) -> None:
        """Begin so many acts a second, for so long; none is begun while too many are under way."""
        names, weights = zip(*((act, weight) for act, weight in self._acts), strict=True)
        began, begun = time.monotonic(), 0
        async with asyncio.TaskGroup() as acting:
            under_way: set[asyncio.Task[None]] = set()
            while (passed := time.monotonic() - began) < seconds:
                for _ in range(int(passed * rate) - begun):
                    begun += 1
                    if len(under_way) >= MOST_AT_ONCE:
                        self.counts.left_out += 1
                        continue
                    (act,) = self._rng.choices(names, weights)
                    task = acting.create_task(self._do(act))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(0.01)

    async def _do(self, act: "Act") -> None:
        try:
            await act(self._rng.choice(self._suites))
        except MainstayError as error:
            self.counts.failed[f"{act.__name__}: {error.reason}"] += 1
        else:
            self.counts.done[act.__name__] += 1

    def key(self) -> str:
        """Return one of few keys."""
        return f"key-{self._rng.randrange(KEYS)}"

    async def read(self, to: Mainstay) -> None:
        await to.cache.get("soak", self.key())

    async def write(self, to: Mainstay) -> None:
        value = self._rng.randbytes(self._rng.choice((10, 100, 1_000, 20_000)))
        tags = [f"tag-{self._rng.randrange(20)}"]
        await to.cache.set("soak", self.key(), value, ttl=timedelta(seconds=20), tags=tags)

    async def compute(self, to: Mainstay) -> None:
        async def value() -> bytes:
            return b"computed"

        ttl = timedelta(seconds=5)
        await to.cache.get_or_compute("computed", self.key(), value, ttl=ttl)

    async def batch(self, to: Mainstay) -> None:
        await to.cache.get_many("soak", [self.key() for _ in range(20)])

    async def invalidate(self, to: Mainstay) -> None:
        await to.cache.invalidate_tags([f"tag-{self._rng.randrange(20)}"])

    async def collect(self, to: Mainstay) -> None:
        await to.cache.increment("counted", self.key(), ttl=timedelta(seconds=20))
        await to.cache.push("listed", self.key(), [b"item"], max_length=50)

    async def check(self, to: Mainstay) -> None:
        await to.ratelimit.check(f"user:{self._rng.randrange(KEYS)}", "/api/soak", plan="pro")

    async def spend(self, to: Mainstay) -> None:
        await to.ratelimit.record_ai_usage(
            f"user:{self._rng.randrange(KEYS)}",
            provider="openai",
            model="gpt-4o",
            input_tokens=100,
            output_tokens=10,
        )

    async def work(self, to: Mainstay) -> None:
        await to.jobs.enqueue("soak", {"n": self._rng.randrange(KEYS)})

    async def look(self, to: Mainstay) -> None:
        await to.health.get_report()
        await to.health.explain("cache")

    async def be_refused(self, to: Mainstay) -> None:
        with suppress(ValidationError):
            await to.cache.set("soak", "k" * 5_000, b"")
        with suppress(ValidationError):
            await to.jobs.send_event("email/send", {"to": "nobody"})

    async def leave(self, to: Mainstay) -> None:
        call = asyncio.ensure_future(to.cache.get("soak", self.key()))
        await asyncio.sleep(self._rng.random() * LEAVES_AFTER)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async def watch(self, to: Mainstay) -> None:
        watches = (to.cache.watch_invalidations(), to.health.watch_report())
        for watched in watches:
            async with aclosing(watched):
                with suppress(TimeoutError):
                    async with asyncio.timeout(WATCHES_FOR):
                        async for _ in watched:
                            pass

    async def come_anew(self, _: Mainstay) -> None:
        address = self._layout.service("cache").address
        # Not the connection of everybody else's.
        async with Channel(address, tenant=f"visitor-{self._rng.randrange(KEYS)}") as channel:
            await CacheClient(channel).get("soak", self.key())


Act = Callable[[Mainstay], Awaitable[None]]


def _weighted(load: Load) -> list[tuple[Act, int]]:
    return [
        (load.read, 30),
        (load.write, 12),
        (load.compute, 10),
        (load.batch, 3),
        (load.invalidate, 2),
        (load.collect, 4),
        (load.check, 30),
        (load.spend, 3),
        (load.work, 8),
        (load.look, 4),
        (load.be_refused, 4),
        (load.leave, 6),
        (load.watch, 2),
        (load.come_anew, 2),
    ]


@asynccontextmanager
async def clients(layout: Layout) -> AsyncIterator[list[Mainstay]]:
    """Connect one caller for each tenant."""
    cache, ratelimit, jobs, health = (layout.service(name).address for name in SERVICES)
    suites = [
        Mainstay(cache=cache, ratelimit=ratelimit, jobs=jobs, health=health, tenant=tenant)
        for tenant in TENANTS
    ]
    try:
        yield suites
    finally:
        for each in suites:
            await each.close()


@asynccontextmanager
async def worker(layout: Layout) -> AsyncIterator[None]:
    """Work off what is queued, until the end of the block."""
    crew = Worker(layout.service("jobs").address, name="soak", tenant="*", drain_seconds=2)

    @crew.function("soak")
    async def soak(job: JobContext) -> int:
        await job.step.run("one", _step)
        await job.progress(0.5)
        return int(job.data["n"])

    working = asyncio.create_task(crew.run())
    try:
        yield
    finally:
        crew.stop()
        await working


async def _step() -> str:
    return "done"
