"""Latency and CPU of Get and Set at a fixed rate, the service beside three libraries."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.cache_contenders import CONNECTIONS, Contender, contenders, mainstay
from bench.pace import offer, percentile
from bench.report import OURS, Comparison, Findings
from bench.target import Target, cache_service, echo_server

GET_RATE, SET_RATE = 1_000, 500
GET_P50_BAR, GET_P99_BAR, SET_P99_BAR = 1.5, 5.0, 10.0
KEYS = 1_000
VALUE = b"x" * 100
ROUNDS = 2
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


async def run() -> Findings:
    """Take turns, so that a busy neighbour disturbs all of them."""
    async with (
        cache_service() as target,
        contenders(target) as four,
        echo_server() as server,
        mainstay(server.address) as echo,
    ):
        for contender in four.values():
            for number in range(KEYS):
                await contender.set(_key(number), VALUE)
        gets = await _take_turns(target, {**four, ECHO: echo}, _get, GET_RATE)
        sets = await _take_turns(target, four, _set, SET_RATE)
    floor = gets.pop(ECHO).latencies
    note = (
        f"Rates: latencies count from when a call was due; {ROUNDS} turns of {SECONDS:g} s "
        f"each, all four on one Redis, the service over {CONNECTIONS} connections. Servers are the "
        "service and Redis, or Redis alone. A bare grpc.aio echo of the same message: p50 "
        f"{percentile(floor, 50):.2f}, p95 {percentile(floor, 95):.2f}, p99 "
        f"{percentile(floor, 99):.2f} ms."
    )
    return Findings(rows=[*_get_rows(gets), *_set_rows(sets)], note=note)


async def _get(contender: Contender, number: int) -> None:
    if await contender.get(_key(number)) != VALUE:
        raise RuntimeError(f"{contender} has lost {_key(number)}")


async def _set(contender: Contender, number: int) -> None:
    await contender.set(_key(number), VALUE)


def _key(number: int) -> str:
    return f"key-{number % KEYS}"


async def _take_turns(
    target: Target,
    four: dict[str, Contender],
    do: Callable[[Contender, int], Awaitable[None]],
    rate: int,
) -> dict[str, Taken]:
    taken = {name: Taken() for name in four}
    for _ in range(ROUNDS):
        for name, contender in four.items():

            async def call(number: int, contender: Contender = contender) -> None:
                await do(contender, number)

            await offer(call, rate=rate, seconds=WARM_UP)
            await _measure(target, call, rate, taken[name])
    return taken


async def _measure(
    target: Target, call: Callable[[int], Awaitable[None]], rate: int, taken: Taken
) -> None:
    redis, service = await target.redis_cpu_seconds(), target.service.cpu_seconds()
    caller = time.process_time()
    taken.latencies += await offer(call, rate=rate, seconds=SECONDS)
    taken.caller += time.process_time() - caller
    taken.service += target.service.cpu_seconds() - service
    taken.redis += await target.redis_cpu_seconds() - redis


def _get_rows(gets: dict[str, Taken]) -> list[Comparison]:
    what = f"Get {GET_RATE:,}/s:"
    return [
        _latency(f"{what} p50, ms", gets, 50, GET_P50_BAR),
        _latency("  p95, ms", gets, 95),
        _latency("  p99, ms", gets, 99, GET_P99_BAR),
        _latency("  p99.9, ms", gets, 99.9),
        *_cpu(gets),
    ]


def _set_rows(sets: dict[str, Taken]) -> list[Comparison]:
    return [
        _latency(f"Set {SET_RATE}/s: p50, ms", sets, 50),
        _latency("  p99, ms", sets, 99, SET_P99_BAR),
        _latency("  p99.9, ms", sets, 99.9),
        *_cpu(sets),
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


def _cpu(taken: dict[str, Taken]) -> list[Comparison]:
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
