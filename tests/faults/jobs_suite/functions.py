"""The functions that the workers of the suite run; all they do is in the ledger."""

import asyncio
import os
import random
import secrets
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from mainstay.jobs import JobContext, JsonValue, KeyedConcurrency, NonRetryableError, Worker
from mainstay.jobs.rollback import RollbackTurn
from services.jobs import token
from tests.faults.jobs_suite.ledger import Ledger, What

CAP = 5
KEY_CAP = 2
STEPS = ("one", "two", "three", "four", "five")
SAGA = STEPS[:3]
WAIT_SECONDS = 120.0
# So that what fails now and then does in the end succeed: ten attempts, of which one in four fails.
RETRIES = 9
BACKOFF = 0.1

Body = Callable[["Story"], Awaitable[None]]


class Story:
    """One turn at a job, as it is told to the ledger."""

    def __init__(self, ledger: Ledger, job: JobContext) -> None:
        self.job = job
        self.n: int = job.data["n"]
        self._ledger = ledger
        self._steps: dict[str, JsonValue] = {}
        # A function is not told which assignment it works on. The suite has to know.
        turn: Any = job._turn
        raw = token.decode(turn._reporter.job.token)
        assert raw is not None, "a worker holds the service's own tokens"
        self.epoch = raw.epoch
        self.undoes = isinstance(turn, RollbackTurn)

    def note(self, what: What, step: str = "", value: object = None) -> None:
        """Write a line."""
        job = self.job
        self._ledger.note(
            what,
            job_id=job.id,
            function=job.function,
            epoch=self.epoch,
            attempt=job.attempt,
            step=step,
            value=value,
        )

    async def step(self, key: str, seconds: float = 0.0) -> None:
        """Run a step that takes so long."""
        self.got(key, await self.job.step.run(key, self._work, key, seconds))

    async def undoable(self, key: str, seconds: float = 0.0) -> None:
        """Run a step that can be undone."""
        undo = partial(self._undo, key)
        self.got(key, await self.job.step.run(key, self._work, key, seconds, compensate=undo))

    def got(self, key: str, value: JsonValue) -> None:
        """Take what a step returned."""
        self._steps[key] = value
        self.note(What.GOT, key, value)

    def result(self) -> JsonValue:
        """Return what the job returns, which holds everything that its steps returned."""
        return {"n": self.n, "steps": self._steps}

    def one_in(self, count: int, of: str) -> bool:
        """Tell whether this turn is one of those to fail; the same in every run of it."""
        return zlib.crc32(f"{of} {self.n} {self.epoch}".encode()) % count == 0

    async def _work(self, key: str, seconds: float) -> str:
        self.note(What.BEGIN, key)
        if seconds:
            await asyncio.sleep(seconds)
        value = f"{self._ledger.worker} {self.epoch} {secrets.token_hex(6)}"
        self.note(What.END, key, value)
        return value

    async def _undo(self, key: str, value: str) -> None:
        self.note(What.UNDO, key, value)
        await asyncio.sleep(0.01)
        if self.one_in(5, f"undo {key}"):
            raise RuntimeError("cannot be undone just now")
        self.note(What.UNDONE, key, value)


async def noop(story: Story) -> None:
    """Do nothing."""


async def steps(story: Story) -> None:
    """Take five steps."""
    for key in STEPS:
        await story.step(key, 0.01)


async def capped(story: Story) -> None:
    """Take long enough for others to wait."""
    await story.step("one", 0.05)


async def flaky(story: Story) -> None:
    """Fail before, between and after the steps, one time in four."""
    for key in STEPS[:2]:
        if story.one_in(8, key):
            raise RuntimeError(f"failed before step {key}")
        await story.step(key)
    if story.one_in(8, "end"):
        raise RuntimeError("failed after the last step")


async def waits(story: Story) -> None:
    """Sleep, and wait for a signal and an event, between steps."""
    step = story.job.step
    await story.step("one")
    await step.sleep("nap", 2.5)
    story.got("nap", None)
    signalled = await step.wait_for_signal("go", "go", timeout=WAIT_SECONDS)
    story.got("go", signalled.data if signalled else None)
    await story.step("two")
    event = await step.wait_for_event(
        "news", "faults/news", match={"n": story.n}, timeout=WAIT_SECONDS
    )
    story.got("news", dict(event.data) if event else None)


async def family(story: Story) -> None:
    """Invoke two jobs side by side, and one after them."""

    async def child(key: str, function: str) -> None:
        data = {"n": story.n, "child": key}
        story.got(key, await story.job.step.invoke(key, function, data))

    await story.step("one")
    await asyncio.gather(child("left", "child"), child("right", "child"))
    await child("last", "child")


async def saga(story: Story) -> None:
    """Fail for good, or be cancelled, after three steps that can be undone."""
    for key in SAGA:
        await story.undoable(key, 0.01)
    if story.job.data.get("cancel"):
        await story.job.step.wait_for_signal("never", "never", timeout=WAIT_SECONDS)
    raise NonRetryableError("this saga ends badly")


async def mortal(story: Story) -> None:
    """Kill the worker in the first attempt, at the moment that the payload names."""
    moment = story.job.data["moment"] if story.job.attempt == 1 else "never"
    await story.step("one")
    if moment == "between":
        kill_worker()
    if moment == "reporting":
        # While the result of the next step is on its way, or its acknowledgement.
        loop = asyncio.get_running_loop()
        loop.call_later(random.uniform(0.0, 0.01), kill_worker)
    await story.step("two")
    if moment == "end":
        asyncio.get_running_loop().call_later(0.005, kill_worker)


async def poison(story: Story) -> None:
    """Kill the worker, always."""
    kill_worker()


async def slow(story: Story) -> None:
    """Take a second."""
    await story.step("one", 1.0)


def kill_worker() -> None:
    """End this process as the operating system would."""
    os.kill(os.getpid(), signal.SIGKILL)


BLOCKED = "blocked"
"""Nobody does it: its queue is paused."""

BODIES: dict[str, Body] = {
    "noop": noop,
    "steps": steps,
    "capped": capped,
    "keyed": capped,
    "flaky": flaky,
    "waits": waits,
    "family": family,
    "child": steps,
    "saga": saga,
    "mortal": mortal,
    "poison": poison,
    "slow": slow,
    BLOCKED: noop,
}
# What only the raw worker does, which repeats itself.
REPEATED = "repeated"
TRIGGERED = (*BODIES, REPEATED)


def event_of(function: str) -> str:
    """Return the event that starts a function."""
    return f"faults/{function}"


def register(worker: Worker, ledger: Ledger) -> None:
    """Give a worker all functions."""
    options: dict[str, dict[str, Any]] = {
        "capped": {"concurrency": CAP},
        "keyed": {"keyed_concurrency": KeyedConcurrency(key="/key", limit=KEY_CAP)},
    }
    for name, body in BODIES.items():
        worker.function(
            name,
            on=event_of(name),
            retries=RETRIES,
            initial_backoff=BACKOFF,
            max_backoff=1.0,
            **options.get(name, {}),
        )(partial(_run, ledger, body))


async def _run(ledger: Ledger, body: Body, job: JobContext) -> JsonValue:
    async with _told(Story(ledger, job)) as story:
        await body(story)
    return story.result()


@asynccontextmanager
async def _told(story: Story) -> AsyncIterator[Story]:
    story.note(What.TURN, value="rollback" if story.undoes else "")
    try:
        yield story
    except BaseException as error:
        story.note(What.LEFT, value=type(error).__name__)
        raise
    story.note(What.LEFT)
