"""Latency and CPU of a check at a fixed rate, the service beside a library in this process."""

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.limit_contenders import POLICY, Contender, contenders, mainstay
from bench.pace import offer, percentile
from bench.report import OURS, Comparison, Findings
from bench.target import Target, echo_server, limit_service

RATE = 1_000
SUBJECTS = 1_000
P50_BAR, P99_BAR = 1.5, 5.0
ROUNDS = 3
SECONDS = 3.0  # of a round
WARM_UP = 0.5
ECHO = "echo"


@dataclass(slots=True, kw_only=True)
class Taken:
    """What all rounds of one contender took together; CPU in seconds."""

    latencies: list[float] = field(default_factory=list)
    caller: float = 0.0
    service: float = 0.0
    redis: float = 0.0


@asynccontextmanager
async def service() -> AsyncIterator[Target]:
    """Run the service with the policy of the measurements."""
    with _policies() as directory:
        async with limit_service(directory) as target:
            yield target


@contextmanager
def _policies() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "ratelimit.yaml").write_text(POLICY, encoding="utf-8")
        yield Path(directory)


async def run() -> Findings:
    """Take turns, so that a busy neighbour disturbs all of them."""
    async with (
        service() as target,
        contenders(target) as all_of_them,
        echo_server() as server,
        mainstay(server.address) as echo,
    ):
        taken = await _take_turns(target, {**all_of_them, ECHO: echo})
    floor = taken.pop(ECHO).latencies
    note = (
        f"Rates: {RATE:,} checks a second of {SUBJECTS:,} subjects; latencies count from when a "
        f"call was due; {ROUNDS} turns of {SECONDS:g} s each on one Redis. moving and counter are "
        "strategies of limits, in this process. A bare grpc.aio echo of the same message: p50 "
        f"{percentile(floor, 50):.2f}, p95 {percentile(floor, 95):.2f}, p99 "
        f"{percentile(floor, 99):.2f} ms."
    )
    return Findings(rows=_rows(taken), note=note)


async def _take_turns(target: Target, all_of_them: dict[str, Contender]) -> dict[str, Taken]:
    taken = {name: Taken() for name in all_of_them}
    for _ in range(ROUNDS):
        for name, contender in all_of_them.items():

            async def call(number: int, contender: Contender = contender) -> None:
                if not await contender.check(f"user:{number % SUBJECTS}"):
                    raise RuntimeError(f"{contender} denied what is far below its limit")

            await offer(call, rate=RATE, seconds=WARM_UP)
            await _measure(target, call, taken[name])
    return taken


async def _measure(target: Target, call: Callable[[int], Awaitable[None]], taken: Taken) -> None:
    redis, own = await target.redis_cpu_seconds(), target.service.cpu_seconds()
    caller = time.process_time()
    taken.latencies += await offer(call, rate=RATE, seconds=SECONDS)
    taken.caller += time.process_time() - caller
    taken.service += target.service.cpu_seconds() - own
    taken.redis += await target.redis_cpu_seconds() - redis


def _rows(taken: dict[str, Taken]) -> list[Comparison]:
    servers = {
        name: _per_call(one.redis + (one.service if name == OURS else 0.0), one)
        for name, one in taken.items()
    }
    callers = {name: _per_call(one.caller, one) for name, one in taken.items()}
    return [
        _latency(f"Check {RATE:,}/s: p50, ms", taken, 50, P50_BAR),
        _latency("  p95, ms", taken, 95),
        _latency("  p99, ms", taken, 99, P99_BAR),
        _latency("  p99.9, ms", taken, 99.9),
        Comparison(what="  CPU of servers, µs", figures=servers),
        Comparison(what="  CPU of the caller, µs", figures=callers),
    ]


def _latency(
    what: str, taken: dict[str, Taken], percent: float, bar: float | None = None
) -> Comparison:
    found = {name: percentile(one.latencies, percent) for name, one in taken.items()}
    return Comparison(
        what=what,
        bar="" if bar is None else f"< {bar:g}",
        met=None if bar is None else found[OURS] < bar,
        figures={name: f"{value:.2f}" for name, value in found.items()},
    )


def _per_call(seconds: float, one: Taken) -> str:
    return f"{seconds / len(one.latencies) * 1e6:.0f}"
