"""What spending from a reserved share costs, against asking the service each time."""

import statistics
import time

from bench.limit_contenders import ENDPOINT
from bench.limit_rates import service
from bench.report import OURS, Comparison, Findings
from mainstay.channel import Channel
from mainstay.ratelimit.client import RateLimitClient

SHARE = 50_000
SPENT = 20_000
ROUNDS = 7
BAR_US = 5.0


async def run() -> Findings:
    """Spend less than half a share a round, so that none is fetched meanwhile."""
    async with service() as target, Channel(target.address) as channel:
        client = RateLimitClient(channel)
        rounds = [await _spend(client, f"user:{number}") for number in range(ROUNDS)]
        await client.close()
    took = statistics.median(rounds)
    row = Comparison(
        what="Spending from a share, µs",
        bar=f"< {BAR_US:g}",
        met=took < BAR_US,
        figures={OURS: f"{took:.2f}"},
    )
    note = (
        f"Spending: {SPENT:,} checks in a row from a share of {SHARE:,} that the service granted, "
        f"median of {ROUNDS} turns."
    )
    return Findings(rows=[row], note=note)


async def _spend(client: RateLimitClient, subject: str) -> float:
    """Return the microseconds of one check."""
    async with client.local_tokens(subject, ENDPOINT, share=SHARE) as tokens:
        await tokens.spend()  # fetches the share
        began = time.perf_counter()
        for _ in range(SPENT):
            decision = await tokens.spend()
            assert decision.allowed, "the share is larger than what is spent"
        return (time.perf_counter() - began) / SPENT * 1e6
