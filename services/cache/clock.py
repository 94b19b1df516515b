"""Redis's clock, as far as this process knows it.

Freshness is judged here and entries end there: both by one clock, so that a replica whose own is
wrong neither serves what is stale nor refreshes what is fresh.
"""

import asyncio
import time

import structlog

from mainstay.errors import UnavailableError
from services.cache.store_errors import FAILURES
from shared.redis.client import Redis

INTERVAL = 5.0
"""Seconds between two looks: clocks drift apart by well below a millisecond meanwhile."""

log = structlog.get_logger()


class StoreClock:
    """A resource: tells the time by Redis's clock, and goes on counting while Redis is away."""

    name = "store clock"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._offset_ms = 0.0

    async def start(self) -> None:
        """Set the clock; raises UnavailableError while Redis does not answer."""
        await self.run_once()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 by Redis's clock."""
        return int(time.monotonic() * 1000 + self._offset_ms)

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
            except FAILURES as error:
                level = log.debug if isinstance(error, UnavailableError) else log.warning
                level("clock_not_set", error=str(error))
