"""Functions that `mainstay.testing` has to run as the service does."""

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mainstay.jobs import ChildFailedError, Function, JobContext, JsonValue, NonRetryableError
from mainstay.jobs.function import Handler
from mainstay.testing import Incoming


@dataclass(frozen=True)
class Order:
    """What the functions are given."""

    items: list[str] = field(default_factory=list)
    number: int = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One function with all that its run depends on; what a step keeps is the case's own."""

    handler: Handler
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    signals: Sequence[Incoming] = ()
    children: Mapping[str, Handler] = field(default_factory=dict)

    def functions(self, event: str) -> list[Function]:
        """Return the function and those that it may invoke, with short waits between attempts."""
        main = Function(name="work", handler=self.handler, on=event, initial_backoff=0.05)
        children = [
            Function(name=name, handler=handler, retries=0)
            for name, handler in self.children.items()
        ]
        return [main, *children]


# How often something was tried for a job, by its id.
TRIES: dict[str, Iterator[int]] = {}


def tag(item: str) -> dict[str, object]:
    """Return what a step keeps."""
    return {"item": item, "size": (len(item), 1)}


def fail(message: str) -> None:
    """Fail, as a plain function does."""
    raise OSError(message)


def give_up(message: str) -> None:
    """Fail for good."""
    raise NonRetryableError(message)


async def steps(job: JobContext, order: Order) -> list[object]:
    """Run steps one after the other and side by side."""
    first = await job.step.run("first", tag, "a")
    await job.progress(0.25, "first", partial={"found": 1})
    items = {f"item-{item}": functools.partial(tag, item) for item in order.items}
    rest = await job.step.parallel(items, at_once=1)
    await job.progress(0.5, "rest")
    return [first, rest, job.attempt, job.max_attempts, job.event, job.tenant]


async def third_time(job: JobContext) -> int:
    """Work in the third attempt."""
    await job.step.run("once", lambda: job.attempt)
    if job.attempt < 3:
        fail(f"attempt {job.attempt}")
    return await job.step.run("late", lambda: job.attempt)


async def never(job: JobContext) -> None:
    """Fail in every attempt."""
    await job.step.run("step", fail, f"attempt {job.attempt}")


async def one_of_parallel(job: JobContext) -> None:
    """Fail in the second of three, one at a time."""
    parts: dict[str, Callable[[], object]] = {
        "a": lambda: 1,
        "b": functools.partial(give_up, "no b"),
        "c": lambda: 3,
    }
    await job.step.parallel(parts, at_once=1)


async def two_keys(job: JobContext) -> None:
    """Use a key twice."""
    await job.step.run("a", lambda: 1)
    await job.step.run("a", lambda: 2)


async def no_json(job: JobContext) -> object:
    """Return what JSON has not."""
    return {1, 2}


async def cancels_itself(job: JobContext) -> None:
    """Let a cancellation of its own escape."""
    raise asyncio.CancelledError


async def undone(job: JobContext) -> None:
    """Do three things of which two can be undone, and fail for good."""
    await job.step.run("reserve", lambda: "seat", compensate=str)
    await job.step.run("note", lambda: "noted")
    await job.step.run("charge", lambda: 5, compensate=str)
    await job.step.run("ship", give_up, "no boxes", compensate=str)


async def stuck(job: JobContext) -> None:
    """Do two things of which the first cannot be undone, however often it is tried."""
    tries = TRIES.setdefault(job.id, itertools.count(1))

    def undo(what: str) -> None:
        fail(f"{what}: try {next(tries)}")

    await job.step.run("reserve", lambda: "seat", compensate=undo)
    await job.step.run("charge", lambda: 5, compensate=str)
    give_up("no boxes")


async def undone_behind_an_error(job: JobContext) -> None:
    """Do something in place of what has failed, and fail."""
    try:
        await job.step.run("fast", fail, "blocked", compensate=str)
    except Exception:  # noqa: BLE001 - whatever it is
        await job.step.run("slow", lambda: "slow", compensate=str)
    give_up("in vain")


async def sleeps(job: JobContext) -> str:
    """Sleep short and long."""
    await job.step.sleep("short", 0.01)
    await asyncio.gather(job.step.sleep("long", 2.1), job.step.run("beside", lambda: "done"))
    return "awake"


async def hears_nothing(job: JobContext) -> list[object]:
    """Wait for what does not come."""
    return list(
        await asyncio.gather(
            job.step.wait_for_event("event", "test/follow-up", timeout=0.3),
            job.step.wait_for_signal("signal", "stop", timeout=0.6),
        )
    )


async def hears_signals(job: JobContext) -> list[object]:
    """Take two signals of one name, and none of another."""
    first = await job.step.wait_for_signal("first", "go", timeout=30)
    second = await job.step.wait_for_signal("second", "go", timeout=30)
    third = await job.step.wait_for_signal("third", "go", timeout=0.2)
    return [first.data if first else None, second.data if second else None, third]


async def fails_after_waiting(job: JobContext) -> int:
    """Wait in the first attempt, and find that done in the second."""
    await job.step.wait_for_signal("signal", "stop", timeout=0.2)
    if job.attempt == 1:
        fail("after waiting")
    return job.attempt


async def double(job: JobContext, order: Order) -> int:
    """Return twice the number."""
    await job.step.sleep("nap", 0)
    return order.number * 2


async def no_double(job: JobContext) -> None:
    """Fail."""
    fail("no number")


async def joins(job: JobContext) -> list[object]:
    """Invoke two jobs at once, one of which fails."""

    async def bad() -> list[str]:
        try:
            return [await job.step.invoke("bad", "no-double")]
        except ChildFailedError as error:
            return [error.state, error.kind, error.reason]

    good = job.step.invoke("good", "double", Order(number=21))
    return list(await asyncio.gather(good, bad()))


async def fails_by_its_child(job: JobContext) -> None:
    """Invoke a job that fails, and undo what came before."""
    await job.step.run("reserve", lambda: "seat", compensate=str)
    await job.step.invoke("bad", "no-double")


async def tells(job: JobContext) -> bool:
    """Send an event."""
    accepted = await job.step.send_event("tell", "test/follow-up", {"number": 7})
    return accepted.duplicate


CASES = {
    "steps": Case(handler=steps, data={"items": ["x", "yz"]}),
    "payload that does not fit": Case(handler=steps, data={"items": ["x", 5]}),
    "third time": Case(handler=third_time),
    "never": Case(handler=never),
    "one of parallel": Case(handler=one_of_parallel),
    "two keys": Case(handler=two_keys),
    "no json": Case(handler=no_json),
    "cancels itself": Case(handler=cancels_itself),
    "undone": Case(handler=undone),
    "stuck": Case(handler=stuck),
    "undone behind an error": Case(handler=undone_behind_an_error),
    "sleeps": Case(handler=sleeps),
    "hears nothing": Case(handler=hears_nothing),
    "hears signals": Case(
        handler=hears_signals,
        signals=[Incoming("go", {"n": 1}, after=0), Incoming("go", {"n": 2}, after=0)],
    ),
    "fails after waiting": Case(handler=fails_after_waiting),
    "joins": Case(handler=joins, children={"double": double, "no-double": no_double}),
    "fails by its child": Case(handler=fails_by_its_child, children={"no-double": no_double}),
    "tells": Case(handler=tells),
}
