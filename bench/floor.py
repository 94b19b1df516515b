"""Server CPU of a call, as a ratio to a bare grpc.aio echo of the same message."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from bench.report import OURS, Comparison, Findings
from bench.server import Server
from mainstay.channel import Channel

CALLERS = 32  # as many as the figures of docs and research were taken with
CALLS_PER_CALLER = 150
ROUNDS = 10
BAR = 1.4

Call: TypeAlias = Callable[[int], Awaitable[object]]


async def compare(
    what: str, service: Server, echo: Server, call_on: Callable[[Channel], Call]
) -> Findings:
    """Alternate rounds between the two servers, so that a busy neighbour disturbs both."""
    async with Channel(service.address) as to_service, Channel(echo.address) as to_echo:
        rounds = []
        for number in range(ROUNDS + 1):
            floor = await cost(echo, call_on(to_echo))
            ours = await cost(service, call_on(to_service))
            if number:  # the first warms up
                rounds.append((floor, ours))
    return _findings(what, rounds)


async def cost(server: Server, call: Call) -> float:
    """Have all callers make their calls; return the server's CPU microseconds per call."""

    async def caller(first: int) -> None:
        for number in range(first, first + CALLS_PER_CALLER):
            await call(number)

    before = server.cpu_seconds()
    await asyncio.gather(*(caller(number * CALLS_PER_CALLER) for number in range(CALLERS)))
    return (server.cpu_seconds() - before) / (CALLERS * CALLS_PER_CALLER) * 1e6


def _findings(what: str, rounds: list[tuple[float, float]]) -> Findings:
    floor = statistics.median(floor for floor, _ in rounds)
    ours = statistics.median(ours for _, ours in rounds)
    ratio = statistics.median(ours / floor for floor, ours in rounds)
    row = Comparison(
        what=f"{what}'s CPU / an echo's",
        bar=f"≤ {BAR:g} ×",
        met=ratio <= BAR,
        figures={OURS: f"{ratio:.2f} ×"},
    )
    note = (
        f"CPU: the echo is a bare grpc.aio server with the same message, {CALLERS} callers, "
        f"{ROUNDS} turns: {ours:.0f} µs of the service's CPU against {floor:.0f} µs."
    )
    return Findings(rows=[row], note=note)
