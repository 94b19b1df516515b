"""Says once a minute which queries have been slow."""

import asyncio

import structlog

from shared.telemetry import metrics
from shared.telemetry.query_metrics import QueryMetrics, slow_queries

INTERVAL = 60.0
"""Seconds that are looked at together."""

LIMIT = 0.1
"""Seconds that more than one in twenty runs of a query may take."""

log = structlog.get_logger()


class SlowQueries:
    """Looks at what this process has measured of its queries; `run` is a background task."""

    def __init__(self, queries: QueryMetrics = metrics.queries) -> None:
        self._queries = queries
        self._before = queries.counts()

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.run_once()

    def run_once(self) -> None:
        """Log what was slow since the last time."""
        before, self._before = self._before, self._queries.counts()
        for slow in slow_queries(before, self._before, limit=LIMIT):
            log.warning(
                "slow_query", query=slow.name, p95_ms=round(slow.p95 * 1000, 1), count=slow.count
            )
