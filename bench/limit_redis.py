"""What a check costs Redis: CPU of a denial against an admission, and bytes of a counter."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from bench.limit_rates import service
from bench.report import OURS, Comparison, Findings
from bench.target import Target
from mainstay.channel import Channel
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

BATCH = 250
CALLS = 20
ROUNDS = 7
DENY_BAR, BYTES_BAR = 0.6, 400
OPEN, FULL = "/api/bench", "/full"


Ask: TypeAlias = Callable[[Channel, str, int], Awaitable[None]]


async def run() -> Findings:
    """Alternate the two, in batches and one by one."""
    async with service() as target, Channel(target.address) as channel:
        for number in range(CALLS):
            await _ask_many(channel, FULL, number)  # uses up the limit of every subject
        in_batches = await _take_turns(target, channel, _ask_many)
        alone = await _take_turns(target, channel, _ask_each)
        largest = await _largest_counter(target)
    return _findings(in_batches, alone, largest)


async def _take_turns(target: Target, channel: Channel, ask: Ask) -> list[tuple[float, float]]:
    rounds = []
    for number in range(ROUNDS + 1):
        allow = await _cost(target, channel, ask, OPEN)
        deny = await _cost(target, channel, ask, FULL)
        if number:  # the first warms up
            rounds.append((allow, deny))
    return rounds


async def _cost(target: Target, channel: Channel, ask: Ask, endpoint: str) -> float:
    """Return Redis's microseconds for a decision, by its own account of its commands."""
    before = await _microseconds(target)
    for number in range(CALLS):
        await ask(channel, endpoint, number)
    return (await _microseconds(target) - before) / (BATCH * CALLS)


async def _ask_each(channel: Channel, endpoint: str, number: int) -> None:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    requests = (
        pb.CheckRequest(subject=f"user:{number * BATCH + n}", endpoint=endpoint)
        for n in range(BATCH)
    )
    await asyncio.gather(*(channel.unary(stub.Check, request) for request in requests))


async def _ask_many(channel: Channel, endpoint: str, number: int) -> None:
    request = pb.CheckBatchRequest(
        acts=[pb.Act(subject=f"user:{number * BATCH + n}", endpoint=endpoint) for n in range(BATCH)]
    )
    await channel.unary(pb_grpc.RateLimitServiceStub(channel.raw).CheckBatch, request)


async def _microseconds(target: Target) -> float:
    stats = await target.redis.info("commandstats")
    return float(sum(each["usec"] for name, each in stats.items() if "evalsha" in name))


async def _largest_counter(target: Target) -> int:
    """Return the bytes of the largest counter, its key and its place in Redis's tables included."""
    largest = 0
    async for key in target.redis.scan_iter(match="rl:{*}:bench:*", count=1_000):
        largest = max(largest, await target.redis.memory_usage(key, samples=0) or 0)
    return largest


def _findings(
    in_batches: list[tuple[float, float]], alone: list[tuple[float, float]], largest: int
) -> Findings:
    rows = [
        *_compared("Redis: deny / allow in batches", in_batches),
        *_compared("Redis: deny / allow one by one", alone),
        Comparison(
            what="Redis: bytes of a counter",
            bar=f"≤ {BYTES_BAR}",
            met=0 < largest <= BYTES_BAR,  # 0: none was found
            figures={OURS: f"{largest}"},
        ),
    ]
    note = (
        f"Redis: its own account (INFO commandstats) of {BATCH * CALLS:,} decisions a turn, "
        f"{ROUNDS} turns; memory by MEMORY USAGE of the largest of {BATCH * CALLS:,} sliding "
        "windows after these calls (tests look at full rings and the other algorithms)."
    )
    return Findings(rows=rows, note=note)


def _compared(what: str, rounds: list[tuple[float, float]]) -> list[Comparison]:
    allow = statistics.median(allow for allow, _ in rounds)
    deny = statistics.median(deny for _, deny in rounds)
    ratio = statistics.median(deny / allow for allow, deny in rounds)
    return [
        Comparison(
            what=what,
            bar=f"≤ {DENY_BAR:g} ×",
            met=ratio <= DENY_BAR,
            figures={OURS: f"{ratio:.2f} ×"},
        ),
        Comparison(what="  allow; deny, µs", figures={OURS: f"{allow:.1f}; {deny:.1f}"}),
    ]
