"""Four processes of 25 callers each ask two replicas for a value that is slow to compute."""

import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.embedded.redis import RedisServer
from tests.faults.cold_callers import (
    CALLERS,
    EVERYBODY,
    PROCESSES,
    CallersProcess,
    Stage,
    stampede_stage,
)

COMPUTE_SECONDS = 1.0
MARGIN_SECONDS = 0.2
# It is extended at a third of it, which is early enough even where that comes late.
LEASE_SECONDS = 2.0
LATE_SECONDS = 3.0

# Six processes have to start on a machine that may run other tests.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def stage(private_redis: RedisServer) -> AsyncIterator[Stage]:
    async with stampede_stage(private_redis.url) as stage:
        yield stage


def values(answered: list[dict[str, Any]]) -> Counter[str]:
    """Return what the callers of some processes got, and how often."""
    return sum((Counter(answer["values"]) for answer in answered), Counter())


def seconds(answered: list[dict[str, Any]]) -> float:
    """Return the time from the first question to the last answer."""
    return float(max(a["ended"] for a in answered) - min(a["began"] for a in answered))


async def one_computation_for_all(stage: Stage, key: str, clients: int) -> None:
    """Let all callers ask, `clients` of each process by a client of their own.

    A machine that is busy with other things gets more time: three times what it takes to bring the
    same callers a value that is there already, and to run a plain timer of a second.
    """
    earlier = len(stage.computations())
    order = {"clients": clients, "key": key, "lease_ms": 10_000, "seconds": COMPUTE_SECONDS}
    before = await stage.commands()
    cold = await stage.round(**order)
    commands = await stage.commands() - before
    warm = await stage.round(**order | {"seconds": 0})
    slowness = seconds(warm) + max(answer["late"] for answer in cold)

    (computed,) = stage.computations()[earlier:]
    assert {str(computed["pid"]): EVERYBODY} == values(cold) == values(warm)
    assert seconds(cold) < COMPUTE_SECONDS + max(MARGIN_SECONDS, 3 * slowness)
    # Everyone looks and asks once, and looks again when the value is there: with the heads of the
    # history that is 5 GETs and a script. Some may find that they looked too early, and ask again.
    asked = PROCESSES * clients
    assert commands["evalsha"] + commands["eval"] <= 1.5 * asked + 10
    assert commands["get"] <= 7 * asked + 10


class TestAStampede:
    async def test_one_computation_for_all(self, stage: Stage) -> None:
        """One computes; all have its value within 1.2 s, and nobody asks twice meanwhile."""
        await one_computation_for_all(stage, "each", clients=CALLERS)
        await one_computation_for_all(stage, "together", clients=1)

    async def test_the_computing_process_is_lost(self, stage: Stage) -> None:
        """Its lease ends, one other computes, and all get that; what comes late is refused."""
        # One client: others who wait in the frozen process could be next, and get a lease in vain.
        frozen = await the_computing_process_is_lost(stage, "frozen", signal.SIGSTOP, clients=1)
        frozen.finish()
        frozen.send(signal.SIGCONT)
        first, second = stage.computations()
        late = await frozen.says("answered")
        assert {str(first["pid"]): CALLERS} == values([late])
        answered = await stage.round(clients=CALLERS, key="frozen", lease_ms=2_000, seconds=0)
        assert {str(second["pid"]): EVERYBODY} == values(answered)
        assert len(stage.computations()) == 2

        await the_computing_process_is_lost(stage, "killed", signal.SIGKILL, clients=CALLERS)


async def the_computing_process_is_lost(
    stage: Stage, key: str, end: signal.Signals, *, clients: int
) -> CallersProcess:
    """Freeze or kill whoever computes first, while everybody else waits; returns it."""
    earlier = len(stage.computations())
    lease_ms = int(LEASE_SECONDS * 1000)
    stage.begin(clients=clients, key=key, lease_ms=lease_ms, seconds=None)
    lost = await stage.computing(earlier + 1)
    await stage.held(PROCESSES * clients - 1)
    ended = time.monotonic()
    lost.send(end)
    (await stage.computing(earlier + 2)).finish()
    answered = await stage.answers(*(process for process in stage.callers if process is not lost))
    first, second = stage.computations()[earlier:]

    assert {str(second["pid"]): EVERYBODY - CALLERS} == values(answered)
    assert lost.pid == first["pid"] != second["pid"]
    # Not before its first lease is over, and not long after its last one can be.
    assert LEASE_SECONDS * 0.9 < second["at"] - first["at"]
    assert second["at"] - ended < LEASE_SECONDS + LATE_SECONDS
    return lost
