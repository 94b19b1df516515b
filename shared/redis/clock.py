"""Redis's clock, as far as this process knows it.

What is judged here and ends there must go by one clock: a replica whose own is wrong would serve
what is stale, or open a window that Redis still counts in.
"""

import asyncio
import time

import structlog

from mainstay.errors import UnavailableError
from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError

INTERVAL = 5.0
"""Seconds between two looks: clocks drift apart by well below a millisecond meanwhile."""

log = structlog.get_logger()


class StoreClock:
    """A resource: tells the time by Redis's clock, and goes on counting while Redis is away.

    Until Redis was reached for the first time it tells this machine's time.
    """

    name = "store clock"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._offset_ms = (time.time() - time.monotonic()) * 1000

    async def start(self) -> None:
        """Set the clock; raises UnavailableError while Redis does not answer."""
        await self.run_once()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 by Redis's clock."""
        return int(time.monotonic() * 1000 + self._offset_ms)

    def now_us(self) -> int:
        """Return microseconds since 1970 by Redis's clock."""
        return int((time.monotonic() * 1000 + self._offset_ms) * 1000)

    async def run_once(self) -> None:
        """Look at Redis's clock; half the round trip is what this may be wrong by."""
        asked = time.monotonic()
        seconds, micros = await self._redis.execute("TIME")
        middle = (asked + time.monotonic()) / 2
        self._offset_ms = int(seconds) * 1000 + int(micros) / 1000 - middle * 1000

    async def run(self) -> None:
        """Look again and again; for a background task."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.run_once()
            except (UnavailableError, RedisReplyError) as error:
                level = log.debug if isinstance(error, UnavailableError) else log.warning
                level("clock_not_set", error=str(error))
