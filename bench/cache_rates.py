"""Latency and CPU of Get and Set at a fixed rate, the service beside three libraries."""

from collections.abc import Awaitable, Callable

from bench.cache_contenders import CONNECTIONS, Contender, contenders, mainstay
from bench.pace import percentile
from bench.rates import Taken, cpu_rows, latency_row, take_turn
from bench.report import Comparison, Findings
from bench.target import Target, cache_service, echo_server

GET_RATE, SET_RATE = 1_000, 500
GET_P50_BAR, GET_P99_BAR, SET_P99_BAR = 1.5, 5.0, 10.0
KEYS = 1_000
VALUE = b"x" * 100
ROUNDS = 2
SECONDS = 3.0  # of a round
ECHO = "echo"


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

            await take_turn(target, call, taken[name], rate=rate, seconds=SECONDS)
    return taken


def _get_rows(gets: dict[str, Taken]) -> list[Comparison]:
    what = f"Get {GET_RATE:,}/s:"
    return [
        latency_row(f"{what} p50, ms", gets, 50, GET_P50_BAR),
        latency_row("  p95, ms", gets, 95),
        latency_row("  p99, ms", gets, 99, GET_P99_BAR),
        latency_row("  p99.9, ms", gets, 99.9),
        *cpu_rows(gets),
    ]


def _set_rows(sets: dict[str, Taken]) -> list[Comparison]:
    return [
        latency_row(f"Set {SET_RATE}/s: p50, ms", sets, 50),
        latency_row("  p99, ms", sets, 99, SET_P99_BAR),
        latency_row("  p99.9, ms", sets, 99.9),
        *cpu_rows(sets),
    ]
