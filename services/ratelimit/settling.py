"""Charges Redis with what was admitted here while it was away, and says how that stands.

Paced, so that many replicas that find Redis again do not take all of its time: at most
`MOST_AT_ONCE` counters in a turn, about a millisecond of Redis's time, and a pause after each.
While Redis does not take payments a single one is tried now and then.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from mainstay.errors import RateLimitStoreError
from services.ratelimit import degraded_metrics
from services.ratelimit.debts import Debts, Payment
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.ports import CounterStore, NowUs

MOST_AT_ONCE = 100
PAUSE = 0.02
"""Seconds between two turns that pay: 5,000 counters a second at most."""
RETRY = 0.5
"""Seconds between two attempts while Redis does not take payments, and two looks for debts."""

_UNTOUCHED = {"REDIS_BREAKER_OPEN", "REDIS_QUEUE_FULL", "REDIS_REFUSED", "REDIS_FULL"}
"""Causes with which nothing was carried out; after other `REDIS_` causes that is not known."""

log = structlog.get_logger()


class Settling:
    """Pays debts to `store`, which is the one in Redis itself.

    `report` is told what operators should know about the counters, None when all is well;
    `connected` tells whether Redis can be asked at all, `settling` whether some replica may still
    have to pay.
    """

    def __init__(
        self,
        store: CounterStore,
        local: LocalCounters,
        debts: Debts,
        *,
        now_us: NowUs,
        connected: Callable[[], bool],
        settling: Callable[[], bool],
        report: Callable[[str | None], None],
    ) -> None:
        self._store = store
        self._local = local
        self._debts = debts
        self._now_us = now_us
        self._connected = connected
        self._settling = settling
        self._report = report
        self._paying = True
        self._problem: str | None = None

    async def run(self) -> None:
        """Settle again and again, and at the end as much as Redis takes; for a background task."""
        try:
            while True:
                paid = await self.run_once()
                self._tell()
                pause = PAUSE if paid else RETRY * random.uniform(0.8, 1.2)  # noqa: S311
                await asyncio.sleep(pause)
        finally:
            while self._connected() and self._debts and await self.run_once():
                pass

    async def run_once(self) -> int:
        """Pay some of what is owed; returns how many payments Redis took."""
        payments = self._debts.take(MOST_AT_ONCE if self._paying else 1)
        taken = await asyncio.gather(*(self._pay(payment) for payment in payments))
        self._paying = any(taken) or not payments
        self._local.drop_empty(self._now_us())
        degraded_metrics.owed.set(len(self._debts))
        return sum(taken)

    async def _pay(self, payment: Payment) -> bool:
        """Pay; returns whether Redis took it, or there was nothing left to pay."""
        charges = payment.charges(self._now_us())
        self._debts.begin(payment)
        try:
            if charges:
                await self._store.charge(charges, once=payment.once)
        except RateLimitStoreError as error:
            self._put_back(payment, error)
            return False
        except asyncio.CancelledError:
            self._debts.postponed(payment)
            raise
        self._debts.paid(payment)
        degraded_metrics.paid.inc(len(charges))
        return True

    def _put_back(self, payment: Payment, error: RateLimitStoreError) -> None:
        cause = error.metadata.get("cause", "")
        if cause in _UNTOUCHED:
            self._debts.untouched(payment)
        elif cause.startswith("REDIS_"):
            self._debts.postponed(payment)
        else:
            log.error(
                "settlement_refused",
                tenant=payment.tenant,
                counters=len(payment.debts),
                cause=cause,
            )
            self._debts.refused(payment)

    def _tell(self) -> None:
        problem = self._find_problem()
        if problem == self._problem:
            return
        if problem is None:
            log.info("counters_settled")
        elif self._problem is None:
            log.warning("counters_degraded", problem=problem)
        self._problem = problem
        self._report(problem)

    def _find_problem(self) -> str | None:
        if not self._connected():
            return (
                "the counters in Redis cannot be reached; the rules' failure modes decide, and "
                f"{len(self._debts):,} counters are to be charged when it is back"
            )
        if self._debts or self._settling():
            return (
                "Redis is back; it is charged with what was admitted without it, for "
                f"{len(self._debts):,} counters from here, and decides alone again when every "
                "replica has done so"
            )
        return None
