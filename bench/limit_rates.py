"""Latency and CPU of a check at a fixed rate, the service beside a library in this process."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench.limit_contenders import POLICY, Contender, contenders, mainstay
from bench.pace import percentile
from bench.rates import Taken, cpu_rows, latency_row, take_turn
from bench.report import Comparison, Findings
from bench.target import Target, echo_server, limit_service

RATE = 1_000
SUBJECTS = 1_000
P50_BAR, P99_BAR = 1.5, 5.0
ROUNDS = 3
SECONDS = 3.0  # of a round
ECHO = "echo"


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

            await take_turn(target, call, taken[name], rate=RATE, seconds=SECONDS)
    return taken


def _rows(taken: dict[str, Taken]) -> list[Comparison]:
    return [
        latency_row(f"Check {RATE:,}/s: p50, ms", taken, 50, P50_BAR),
        latency_row("  p95, ms", taken, 95),
        latency_row("  p99, ms", taken, 99, P99_BAR),
        latency_row("  p99.9, ms", taken, 99.9),
        *cpu_rows(taken),
    ]
