"""Latency and CPU of calls at a fixed rate, ours beside others."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.pace import offer, percentile
from bench.report import OURS, Comparison
from bench.target import Target

WARM_UP = 0.5


@dataclass(slots=True, kw_only=True)
class Taken:
    """What all rounds of one contender took together; CPU in seconds."""

    latencies: list[float] = field(default_factory=list)
    caller: float = 0.0
    service: float = 0.0
    redis: float = 0.0


async def take_turn(
    target: Target,
    call: Callable[[int], Awaitable[None]],
    taken: Taken,
    *,
    rate: int,
    seconds: float,
) -> None:
    """Warm up, then measure for so many seconds."""
    await offer(call, rate=rate, seconds=WARM_UP)
    redis, service = await target.redis_cpu_seconds(), target.service.cpu_seconds()
    caller = time.process_time()
    taken.latencies += await offer(call, rate=rate, seconds=seconds)
    taken.caller += time.process_time() - caller
    taken.service += target.service.cpu_seconds() - service
    taken.redis += await target.redis_cpu_seconds() - redis


def latency_row(
    what: str, taken: dict[str, Taken], percent: float, bar: float | None = None
) -> Comparison:
    """Return a percentile of everybody's, in milliseconds; ours has to be below the bar."""
    found = {name: percentile(one.latencies, percent) for name, one in taken.items()}
    return Comparison(
        what=what,
        bar="" if bar is None else f"< {bar:g}",
        met=None if bar is None else found[OURS] < bar,
        figures={name: f"{value:.2f}" for name, value in found.items()},
    )


def cpu_rows(taken: dict[str, Taken]) -> list[Comparison]:
    """Return what a call costs servers and callers; only ours has a server beside Redis."""
    servers = {
        name: _per_call(one.redis + (one.service if name == OURS else 0.0), one)
        for name, one in taken.items()
    }
    callers = {name: _per_call(one.caller, one) for name, one in taken.items()}
    return [
        Comparison(what="  CPU of servers, µs", figures=servers),
        Comparison(what="  CPU of the caller, µs", figures=callers),
    ]


def _per_call(seconds: float, one: Taken) -> str:
    return f"{seconds / len(one.latencies) * 1e6:.0f}"
