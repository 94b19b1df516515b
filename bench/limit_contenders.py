"""The ways to ask for a limit that are measured beside each other, behind one interface.

`limits` is asked in this process, on the same Redis, with the strategy that its documentation
recommends for accuracy (moving window) and the one it recommends for memory (sliding counter).
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any, Protocol

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from bench.report import OURS
from bench.target import Connection, Target
from mainstay.ratelimit.client import RateLimitClient

ENDPOINT = "/api/bench"
LIMIT = 1_000_000
"""Per minute: nothing is denied, so that every check consumes."""
CONNECTIONS = 4
POLICY = f"""
version: 1
limits:
  - {{name: bench, endpoints: ["*"], default: {LIMIT}/min}}
  - {{name: full, endpoints: [/full], default: 1/h}}
"""


class Contender(Protocol):
    """Something that counts."""

    async def check(self, subject: str) -> bool:
        """Consume one and return whether that was allowed."""


class Mainstay:
    """The service, over several connections in turn."""

    def __init__(self, clients: list[RateLimitClient]) -> None:
        self._clients = cycle(clients)

    async def check(self, subject: str) -> bool:
        return (await next(self._clients).check(subject, ENDPOINT)).allowed


class Library:
    """A strategy of `limits`."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        self._limit = RateLimitItemPerMinute(LIMIT)

    async def check(self, subject: str) -> bool:
        return bool(await self._strategy.hit(self._limit, subject))


@asynccontextmanager
async def mainstay(address: str) -> AsyncIterator[Mainstay]:
    """Connect to a service, or to the echo."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(Connection(address)) for _ in range(CONNECTIONS)
        ]
        yield Mainstay([RateLimitClient(channel) for channel in channels])


@asynccontextmanager
async def contenders(target: Target) -> AsyncIterator[dict[str, Contender]]:
    """Provide all of them, by the name of their column."""
    storage = RedisStorage(f"async+{target.redis_url}", implementation="redispy")
    async with mainstay(target.address) as ours:
        yield {
            OURS: ours,
            "moving": Library(MovingWindowRateLimiter(storage)),
            "counter": Library(SlidingWindowCounterRateLimiter(storage)),
        }
