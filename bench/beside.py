"""Server CPU of a cache hit beside that of another server, in turns."""

import statistics
from dataclasses import dataclass
from datetime import timedelta

from bench.floor import Call, cost
from bench.target import Target
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

VALUE = b"x" * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Medians of all turns: CPU of a call in microseconds, and the ratio of the second's."""

    first: float
    second: float
    ratio: float


async def hits(channel: Channel) -> Call:
    """Return what hits one key."""
    client = CacheClient(channel)
    await client.set("bench", "key", VALUE, ttl=timedelta(hours=1))
    return lambda _: client.get("bench", "key")


async def beside(first: Target, second: Target, calls: tuple[Call, Call], *, turns: int) -> Beside:
    """Measure both in turns, each of them first in every other one, after one that warms up.

    So a busy neighbour disturbs both.
    """
    found = [await _turn(number, first, second, calls) for number in range(turns + 1)][1:]
    return Beside(
        first=statistics.median(one for one, _ in found),
        second=statistics.median(other for _, other in found),
        ratio=statistics.median(other / one for one, other in found),
    )


async def _turn(
    number: int, first: Target, second: Target, calls: tuple[Call, Call]
) -> tuple[float, float]:
    if number % 2:
        other = await cost(second.service, calls[1])
        return await cost(first.service, calls[0]), other
    one = await cost(first.service, calls[0])
    return one, await cost(second.service, calls[1])
