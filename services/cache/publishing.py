"""Takes what was counted in memory to where it can be asked for: Redis, PostgreSQL, Prometheus."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from mainstay.errors import CacheError
from services.cache import metrics
from services.cache.redis_statistics import RedisStatistics
from services.cache.statistics import CacheStatistics, Counted, Group, Tally
from shared.rpc.call import Tenant

Take = Callable[[Sequence[Counted]], None]
"""Takes over what was counted; neither waits nor fails."""

log = structlog.get_logger()


class StatisticsPublisher:
    """Hands on what one process has counted, every `interval` seconds.

    `others` get the same as Redis does. They keep or drop it as they like, so that none of them can
    hold up another.
    """

    def __init__(
        self,
        statistics: CacheStatistics,
        shared: RedisStatistics,
        others: Sequence[Take],
        *,
        interval: float,
    ) -> None:
        self._statistics = statistics
        self._shared = shared
        self._others = others
        self._interval = interval
        self._keeping = False

    def hand_over(self) -> None:
        """Give everybody what was counted since the last time."""
        if counted := self._statistics.drain():
            self._shared.add(counted)
            for take in self._others:
                take(counted)

    async def flush_once(self) -> None:
        """Hand over and write to Redis; raises CacheError while that is gone, and loses nothing."""
        self.hand_over()
        await self._shared.flush()

    async def read(self, tenant: Tenant, minutes: int) -> dict[Group, Tally]:
        """Return what all replicas counted within the last minutes, by group.

        Of this replica everything, of others what they have flushed. Raises CacheError.
        """
        try:
            await self.flush_once()
        except CacheError as error:
            # A full store can still be asked, and is then: what is kept here comes later.
            if error.reason != "CACHE_FULL":
                raise
        return await self._shared.read(tenant, minutes)

    async def run(self) -> None:
        """Flush again and again; once more at the end. For a background task."""
        metrics.before_scrape.attach(self.hand_over)
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self._flush_or_say()
        finally:
            metrics.before_scrape.detach(self.hand_over)
            await self._flush_or_say()

    async def _flush_or_say(self) -> None:
        try:
            await self.flush_once()
            self._keeping = False
        except CacheError as error:
            if not self._keeping:
                log.warning("statistics_kept", error=error.message)
            self._keeping = True
