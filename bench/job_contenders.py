"""Those that run jobs and are measured beside each other, behind one interface.

Each has a module with `sender(address)` for the measurement's process and `work(shift)` for the
worker's, set up as its own documentation advises. A rival that is not installed is left out.
"""

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol, cast

from bench.job_ledger import Ledger
from bench.report import OURS

NOOP, PAUSE, STEPS = "noop", "pause", "steps"
"""What a job does: nothing, wait a while, five steps of nothing."""
UNSERVED, CAPPED = "unserved", "capped"
"""What cannot begin: nobody serves its function, or another of its function runs for ever."""
STEPS_OF_A_JOB = 5
BATCH = 100
"""Jobs queued in one call, where there is a call for many."""
_TEXT = "x" * 150  # makes a payload of 200 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a job is told: its number, and how many seconds it is to last."""

    number: int
    seconds: float = 0.0
    text: str = field(default=_TEXT, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class WorkerHandle(Protocol):
    """A worker's process."""

    async def stop(self) -> None:
        """Ask it to stop; return once it has acknowledged what it did."""


class Sender(Protocol):
    """Queues jobs."""

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Queue jobs, all in one call; returns when they are durable."""

    async def settle(self, worker: WorkerHandle) -> None:
        """Return once the ends of all jobs are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What a worker's process is to do.

    Attributes:
        address: Of the service, or the URL of the store.
        ledger: Where it notes what it did.
        concurrency: Jobs at the same time; 0 is without bound, for those that can.
        tenant: Whose jobs; for ours.
        ready: Called when it can be given jobs.
        stop: Set when it is to end.

    """

    address: str
    ledger: Ledger
    concurrency: int
    tenant: str | None
    ready: Callable[[], None]
    stop: asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of them.

    Attributes:
        name: The column of the table.
        module: Where its two halves are.
        requires: The package that has to be installed.
        store: Which server it keeps its jobs in.
        drain_jobs: How many of them show its rate in a bounded time.
        drain_concurrency: With which it drains fastest, as far as was tried; 0 is without bound.
        concurrency: With which it keeps up with a trickle of jobs.
        durability: What is stored when, in a few words.

    """

    name: str
    module: str
    requires: str
    store: str = "postgres"
    drain_jobs: int = 20_000
    drain_concurrency: int
    concurrency: int = 50
    durability: str

    def sender(self, address: str) -> AbstractAsyncContextManager[Sender]:
        """Connect to where its jobs are queued."""
        module = importlib.import_module(self.module)
        return cast(AbstractAsyncContextManager[Sender], module.sender(address))

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.requires) is not None


MAINSTAY = Contender(
    name=OURS,
    module="bench.job_mainstay",
    requires="mainstay",
    store="service",
    drain_concurrency=500,
    durability="rows kept, ends acknowledged in batches",
)
PGQUEUER = Contender(
    name="pgqueuer",
    module="bench.rivals.pgqueuer_jobs",
    requires="pgqueuer",
    drain_concurrency=500,
    durability="rows moved to a log, ends in batches",
)
PROCRASTINATE = Contender(
    name="procrastinate",
    module="bench.rivals.procrastinate_jobs",
    requires="procrastinate",
    drain_jobs=3_000,
    drain_concurrency=10,
    durability="rows kept, each end a commit",
)
DBOS = Contender(
    name="dbos",
    module="bench.rivals.dbos_jobs",
    requires="dbos",
    drain_jobs=3_000,
    drain_concurrency=0,
    concurrency=0,  # with a bound it takes that many at each of its polls, one a second
    durability="rows kept, each start, step and end a commit",
)
DRAMATIQ = Contender(
    name="dramatiq",
    module="bench.rivals.dramatiq_jobs",
    requires="dramatiq",
    store="redis",
    drain_concurrency=32,
    durability="on Redis with appendfsync everysec, each end acknowledged and its message deleted",
)
BY_NAME = {each.name: each for each in (MAINSTAY, PGQUEUER, PROCRASTINATE, DBOS, DRAMATIQ)}


def those(*contenders: Contender) -> list[Contender]:
    """Return ours and those of the rivals that are installed."""
    return [each for each in (MAINSTAY, *contenders) if each.installed]


async def fill(sender: Sender, work: str, jobs: int, *, seconds: float = 0.0) -> None:
    """Queue so many jobs, numbered from 0."""
    for first in range(0, jobs, BATCH):
        numbers = range(first, min(first + BATCH, jobs))
        await sender.send(work, [Payload(number=number, seconds=seconds) for number in numbers])
