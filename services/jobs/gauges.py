"""Keeps the gauges of the queue up to date, and warns of what will make it slow."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from mainstay.errors import DatabaseError
from services.jobs import metrics
from services.jobs.ports import Depth, DepthStore

INTERVAL = 30.0
RETRY = 2.0
"""Seconds until the next try after one that failed, so that the end of an outage is seen soon."""
MAX_AGE = 300.0
"""A ready job that has waited for longer, in seconds, is worth a warning."""
MAX_TRANSACTION = 300.0
"""A transaction that is older, in seconds, keeps dead rows where every claim steps over them."""
MAX_DEAD_ROWS = 500_000

log = structlog.get_logger()

Report = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures of one moment.

    Attributes:
        depth: The figures.
        time: The moment.
        at: The same by the monotonic clock, in seconds.

    """

    depth: Depth
    time: datetime
    at: float


class QueueGauges:
    """Measures the queue every half minute; each replica reports the same figures.

    `report` shows a problem beside the service's readiness, or takes it back with None. The last
    figures stay in memory for who asks, however old they become.
    """

    def __init__(
        self,
        store: DepthStore,
        report: Report,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.measured: Measured | None = None
        self._store = store
        self._report = report
        self._monotonic = monotonic
        self._wall = wall
        self._told: dict[str, bool] = {}
        self._failing = False

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            pause = INTERVAL if await self._try_once() else RETRY
            await asyncio.sleep(pause)

    def age(self, measured: Measured) -> float:
        """Return how old figures are, in seconds."""
        return self._monotonic() - measured.at

    async def _try_once(self) -> bool:
        failed_before = self._failing
        try:
            await self.run_once()
        except DatabaseError as error:
            self._failing = True
            if not failed_before:
                log.warning("queue_not_measured", error=error.message, retry_in_s=RETRY)
        else:
            self._failing = False
            if failed_before:
                log.info("queue_measured_again")
        return not self._failing

    async def run_once(self) -> None:
        """Measure now."""
        depth = await self._store.depth()
        self.measured = Measured(depth=depth, time=self._wall(), at=self._monotonic())
        metrics.ready.set(depth.ready)
        metrics.delayed.set(depth.delayed)
        metrics.running.set(depth.running)
        metrics.oldest_seconds.set(depth.oldest)
        metrics.dead_letters.set(depth.dead_letters)
        metrics.workers.set(depth.workers)
        metrics.oldest_transaction_seconds.set(depth.oldest_transaction)
        metrics.dead_rows.set(depth.dead_rows)
        for name, problem in warnings(depth).items():
            self._report(name, problem)
            if (problem is not None) != self._told.get(name, False):
                self._told[name] = problem is not None
                log.warning(name, problem=problem or "is over")


def warnings(depth: Depth) -> dict[str, str | None]:
    """Return what is wrong with the queue by name; None for what is not."""
    return {
        "queue_old": f"a ready job has waited for {depth.oldest:.0f} s: start workers, or look at "
        "ListQueues for what is paused"
        if depth.oldest > MAX_AGE
        else None,
        "transaction_old": f"a transaction has been open for {depth.oldest_transaction:.0f} s and "
        "keeps dead rows alive: end it (pg_stat_activity, xact_start)"
        if depth.oldest_transaction > MAX_TRANSACTION
        else None,
        "dead_rows": f"{depth.dead_rows:,} dead rows wait for a vacuum: look for what holds it up"
        if depth.dead_rows > MAX_DEAD_ROWS
        else None,
    }
