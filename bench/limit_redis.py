"""What a check costs Redis: CPU of a denial against an admission, and bytes of a counter."""

import statistics

from bench.limit_rates import service
from bench.report import OURS, Comparison, Findings
from bench.target import Target
from mainstay.channel import Channel
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

BATCH = 500
CALLS = 20
ROUNDS = 7
DENY_BAR, BYTES_BAR = 0.6, 400
OPEN, FULL = "/api/bench", "/full"


async def run() -> Findings:
    """Alternate the two, in batches, so that the work of the network is not what is measured."""
    async with service() as target, Channel(target.address) as channel:
        for number in range(CALLS):
            await _ask(channel, FULL, number)  # uses up the limit of every subject
        rounds = []
        for number in range(ROUNDS + 1):
            allow = await _cost(target, channel, OPEN)
            deny = await _cost(target, channel, FULL)
            if number:  # the first warms up
                rounds.append((allow, deny))
        largest = await _largest_counter(target)
    return _findings(rounds, largest)


async def _cost(target: Target, channel: Channel, endpoint: str) -> float:
    """Return Redis's microseconds for a decision, by its own account of its commands."""
    before = await _microseconds(target)
    for number in range(CALLS):
        await _ask(channel, endpoint, number)
    return (await _microseconds(target) - before) / (BATCH * CALLS)


async def _ask(channel: Channel, endpoint: str, number: int) -> None:
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


def _findings(rounds: list[tuple[float, float]], largest: int) -> Findings:
    allow = statistics.median(allow for allow, _ in rounds)
    deny = statistics.median(deny for _, deny in rounds)
    ratio = statistics.median(deny / allow for allow, deny in rounds)
    rows = [
        Comparison(
            what="Redis: deny / allow, CPU",
            bar=f"≤ {DENY_BAR:g} ×",
            met=ratio <= DENY_BAR,
            figures={OURS: f"{ratio:.2f} ×"},
        ),
        Comparison(what="  allow, µs", figures={OURS: f"{allow:.1f}"}),
        Comparison(what="  deny, µs", figures={OURS: f"{deny:.1f}"}),
        Comparison(
            what="Redis: bytes of a counter",
            bar=f"≤ {BYTES_BAR}",
            met=largest <= BYTES_BAR,
            figures={OURS: f"{largest}"},
        ),
    ]
    note = (
        f"Redis: its own account (INFO commandstats) of {BATCH * CALLS:,} decisions a turn in "
        f"batches, {ROUNDS} turns; memory by MEMORY USAGE of the largest of {BATCH * CALLS:,} "
        "sliding windows (tests look at the other algorithms and at full rings)."
    )
    return Findings(rows=rows, note=note)
