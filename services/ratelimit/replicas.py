"""How many replicas share the limits while the counters cannot be reached.

Every replica beats in a sorted set in Redis and hears how many others do. The count that was heard
last holds while Redis is away: nobody can tell then whether replicas come or go. A Redis that comes
back empty hears of all of them within one interval, so the most of the last few counts is believed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from mainstay.errors import UnavailableError
from services.ratelimit import degraded_metrics
from services.ratelimit.store_errors import FAILURES
from shared.redis.client import Redis, Script

INTERVAL = 2.0
"""Seconds between two beats."""
ALIVE_MS = 7_000
"""How long a beat counts: three of them may be lost."""

COUNTS = 3
"""How many counts are looked back at."""

KEY = "rl:~replicas"
_BEAT = Script.load("services.ratelimit", "lua/beat.lua")
_SERVER_TIME = ""

log = structlog.get_logger()


class Replicas:
    """Says that this replica lives, and knows how many do.

    `replica` is a name that no other process has or had. Until Redis was reached for the first time
    there are taken to be `expected`. `clock` replaces Redis's clock in tests of histories; it
    returns milliseconds since 1970.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        replica: str,
        expected: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._redis = redis
        self._replica = replica
        self._clock = clock
        self._expected = expected
        self._counts: deque[int] = deque(maxlen=COUNTS)

    @property
    def count(self) -> int:
        """Return how many replicas lived when Redis was last reached, this one among them."""
        return max(self._counts, default=self._expected)

    async def beat(self) -> None:
        """Say that this replica lives, and count; raises UnavailableError while Redis is away."""
        now = self._clock() if self._clock else _SERVER_TIME
        before = self.count
        self._counts.append(
            await self._redis.run_script(_BEAT, [KEY], [self._replica, ALIVE_MS, now])
        )
        if self.count != before:
            log.info("replicas_counted", replicas=self.count, before=before)
        degraded_metrics.replicas.set(self.count)

    async def run(self) -> None:
        """Beat again and again, and take leave at the end; for a background task."""
        try:
            while True:
                await self._try(self.beat)
                await asyncio.sleep(INTERVAL)
        finally:
            await self._try(self._leave)

    async def _leave(self) -> None:
        await self._redis.execute("ZREM", KEY, self._replica)

    @staticmethod
    async def _try(step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except FAILURES as error:
            # That Redis is away is said elsewhere; here it only means that the count is kept.
            level = log.debug if isinstance(error, UnavailableError) else log.warning
            level("beat_missed", error=str(error))
