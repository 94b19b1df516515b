"""Many callers in several processes want one value that takes a second to compute."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from bench.cold_callers import CALLERS, COMPUTE_SECONDS, CONTENDERS
from bench.report import OURS, Comparison, Findings
from bench.server import REPOSITORY
from bench.target import Target, cache_service

PROCESSES = 4
TIMEOUT = 30.0
ANSWERED_BAR = 1.2
# The window in which everybody has asked, nobody was answered, and there is nothing to do but wait.
WAIT_BEGINS, WAIT_SECONDS = 0.3, 0.5
IDLE_SECONDS = 3.0

Callers: TypeAlias = "subprocess.Popen[str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stampede:
    """What came of one.

    Attributes:
        computations: How often the value was computed.
        seconds: From the first question to the last answer.
        commands: What Redis ran from before the first to after the last.
        waiting: What it ran in a part of the time in which all waited.
        right: Callers that got the value.

    """

    computations: int
    seconds: float
    commands: int
    waiting: Counter[str]
    right: int


async def run() -> Findings:
    """Let the contenders have a stampede one after the other, on the same Redis."""
    async with cache_service() as target:
        found = {name: await _stampede(target, name) for name in CONTENDERS}
        idle = await _commands_during(target, IDLE_SECONDS)
    return _findings(found, idle)


async def _stampede(target: Target, contender: str) -> Stampede:
    with ExitStack() as stack:
        processes = [stack.enter_context(_process(target, contender)) for _ in range(PROCESSES)]
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(asyncio.to_thread(_until_ready, one) for one in processes))
        before = Counter(await target.commands())
        # All are there and connected: the line that they wait for lets them loose.
        answers = asyncio.gather(
            *(asyncio.to_thread(one.communicate, "go\n", TIMEOUT) for one in processes)
        )
        await asyncio.sleep(WAIT_BEGINS)
        waiting = await _commands_during(target, WAIT_SECONDS)
        results = [json.loads(output) for output, _ in await answers]
        commands = Counter(await target.commands()) - before
    return Stampede(
        computations=sum(result["computations"] for result in results),
        seconds=max(result["ended"] for result in results)
        - min(result["began"] for result in results),
        commands=commands.total(),
        waiting=waiting,
        right=sum(result["right"] for result in results),
    )


@contextmanager
def _process(target: Target, contender: str) -> Iterator[Callers]:
    """Run a process of callers, and leave none behind."""
    address = target.address if contender == OURS else target.redis_url
    arguments = (contender, address, f"cold-{contender}")
    with subprocess.Popen(
        [sys.executable, "-m", "bench.cold_callers", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # has ended, unless something failed


def _until_ready(process: Callers) -> None:
    assert process.stdout is not None, "is a pipe"
    if not process.stdout.readline():
        raise RuntimeError(f"callers ended with {process.wait()} before they had begun")


async def _commands_during(target: Target, seconds: float) -> Counter[str]:
    before = Counter(await target.commands())
    await asyncio.sleep(seconds)
    return Counter(await target.commands()) - before


def _findings(found: dict[str, Stampede], idle: Counter[str]) -> Findings:
    ours = found[OURS]
    everybody = PROCESSES * CALLERS
    rows = [
        Comparison(
            what="stampede: computations",
            figures={name: f"{one.computations}" for name, one in found.items()},
            bar="1",
            met=ours.computations == 1 and ours.right == everybody,
        ),
        Comparison(
            what="  all answered after, s",
            figures={name: f"{one.seconds:.2f}" for name, one in found.items()},
            bar=f"≤ {ANSWERED_BAR:g}",
            met=ours.seconds <= ANSWERED_BAR,
        ),
        Comparison(
            what="  Redis commands",
            figures={name: f"{one.commands:,}" for name, one in found.items()},
        ),
        Comparison(
            what=f"  in {WAIT_SECONDS:g} s of waiting",
            figures={name: f"{one.waiting.total():,}" for name, one in found.items()},
            bar="no polls",
            met=not ours.waiting - idle,  # nothing but what it sends anyway
        ),
    ]
    note = (
        f"Stampede: {PROCESSES} processes of {CALLERS} callers, {COMPUTE_SECONDS:g} s to compute; "
        "cashews with lock=True, aiocache with cached_stampede. While its callers waited the "
        f"service sent Redis {_named(ours.waiting)}; in {IDLE_SECONDS:g} s "
        f"without callers {_named(idle)}, which may be in every column."
    )
    return Findings(rows=rows, note=note)


def _named(commands: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in commands.most_common()) or "nothing"
