"""Keeps the gauges of the queue up to date."""

import asyncio

import structlog

from mainstay.errors import DatabaseError
from services.jobs import metrics
from services.jobs.ports import DepthStore

INTERVAL = 15.0

log = structlog.get_logger()


class QueueGauges:
    """Measures the queue every quarter of a minute; each replica reports the same figures."""

    def __init__(self, store: DepthStore) -> None:
        self._store = store

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            try:
                await self.run_once()
            except DatabaseError as error:
                log.warning("queue_not_measured", error=error.message)
            await asyncio.sleep(INTERVAL)

    async def run_once(self) -> None:
        """Measure now."""
        depth = await self._store.depth()
        metrics.ready.set(depth.ready)
        metrics.delayed.set(depth.delayed)
        metrics.running.set(depth.running)
        metrics.oldest_seconds.set(depth.oldest)
