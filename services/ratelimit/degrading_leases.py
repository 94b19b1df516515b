"""Leases, also while Redis is away: then the rule's failure mode decides.

`open` lets everybody pass without a lease. `closed` denies. `local` gives out this replica's share
of the places, as leases that are kept in memory: all replicas together give out as many as the
limit, or one each where that is more. As soon as Redis is back, within a second, what is held in
memory moves there, even where that makes more than the limit: the work goes on, and until it has
ended nobody else gets a place.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, assert_never

import structlog

from mainstay.errors import RateLimitStoreError
from services.ratelimit.lending_ports import Acquired, Holder, LeaseName, Leases
from services.ratelimit.local_leases import LocalLeases
from services.ratelimit.local_share import RETRY_AFTER, share_of
from services.ratelimit.policy import FailureMode
from services.ratelimit.ports import Charge, NowUs
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

INTERVAL = 1.0
"""Seconds between two attempts to move leases to Redis."""

log = structlog.get_logger()


class AdoptingLeases(Leases, Protocol):
    """Leases that can be granted elsewhere first."""

    async def adopt(self, holder: Holder, ends: Mapping[bytes, int]) -> None:
        """Keep leases until their ends, however many places there are."""
        ...


class DegradingLeases:
    """The `Leases` of the service: never without an answer to who asks for a place.

    What is asked about a lease that is in Redis still raises RateLimitStoreError meanwhile.
    """

    def __init__(
        self,
        leases: AdoptingLeases,
        *,
        replicas: Callable[[], int],
        now_us: NowUs,
    ) -> None:
        self._leases = leases
        self._local = LocalLeases()
        self._replicas = replicas
        self._now_us = now_us

    @property
    def holders(self) -> int:
        """Return how many subjects hold places in memory."""
        return len(self._local)

    async def look(self, charge: Charge) -> Verdict:
        try:
            return await self._leases.look(charge)
        except RateLimitStoreError:
            return self._look_alone(charge)

    async def acquire(self, charge: Charge, lease: bytes, ttl: int) -> Acquired:
        try:
            return await self._leases.acquire(charge, lease, ttl)
        except RateLimitStoreError:
            if charge.rule.on_failure is not FailureMode.LOCAL:
                return Acquired(self._look_alone(charge), None)
        places = self._share(charge)
        verdict, end = self._local.acquire(
            _holder(charge), now=self._now_us(), places=places, lease=lease, ttl=ttl
        )
        return Acquired(_told(charge, places, verdict), end)

    async def renew(self, name: LeaseName, ttl: int) -> int | None:
        end = self._local.renew(name, now=self._now_us(), ttl=ttl)
        return await self._leases.renew(name, ttl) if end is None else end

    async def release(self, name: LeaseName) -> bool:
        # In Redis too: it may be on its way there, or have got there when no answer came.
        released = self._local.release(name, now=self._now_us())
        try:
            return await self._leases.release(name) or released
        except RateLimitStoreError:
            if released:
                return True
            raise

    def abandon(self, name: LeaseName) -> None:
        self._local.release(name, now=self._now_us())
        self._leases.abandon(name)

    def forget(self, tenant: Tenant, rules: Sequence[str], subject: str) -> Sequence[str]:
        """Forget what a subject holds in memory; returns the rules of which that was something."""
        now = self._now_us()
        return [rule for rule in rules if self._local.drop(Holder(tenant, rule, subject), now=now)]

    async def hand_over(self) -> None:
        """Move what is held in memory to Redis; raises RateLimitStoreError while that is away."""
        moved = 0
        for holder, holders in self._local.held():
            if holders.alive(self._now_us()):
                await self._leases.adopt(holder, holders.ends)
                moved += 1
            self._local.forget(holder, holders)
        if moved:
            log.info("leases_handed_over", subjects=moved)

    async def run(self) -> None:
        """Hand over again and again, and at the end what Redis takes; for a background task."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self._try_to_hand_over()
        finally:
            await self._try_to_hand_over()

    async def _try_to_hand_over(self) -> None:
        try:
            await self.hand_over()
        except RateLimitStoreError as error:
            log.debug("leases_kept", subjects=len(self._local), error=str(error))

    def _look_alone(self, charge: Charge) -> Verdict:
        now, places = self._now_us(), charge.limit.quota
        match charge.rule.on_failure:
            case FailureMode.OPEN:
                return Verdict(
                    admits=True,
                    now=now,
                    used=0,
                    reset_at=now,
                    retry_at=None,
                    degraded=FailureMode.OPEN,
                )
            case FailureMode.CLOSED:
                again = now + RETRY_AFTER
                return Verdict(
                    admits=False,
                    now=now,
                    used=places,
                    reset_at=again,
                    retry_at=again,
                    degraded=FailureMode.CLOSED,
                )
            case FailureMode.LOCAL:
                share = self._share(charge)
                verdict = self._local.look(_holder(charge), now=now, places=share)
                return _told(charge, share, verdict)
            case mode:
                assert_never(mode)

    def _share(self, charge: Charge) -> int:
        return share_of(charge.limit, max(1, self._replicas())).quota


def _holder(charge: Charge) -> Holder:
    return Holder(charge.tenant, charge.rule.name, charge.subject)


def _told(charge: Charge, share: int, verdict: Verdict) -> Verdict:
    """Tell what is left of the share as what is left of the limit."""
    left = max(0, share - verdict.used)
    retry_at = verdict.retry_at
    if not verdict.admits:
        # The outage may be over before the next lease is.
        again = verdict.now + RETRY_AFTER
        retry_at = again if retry_at is None else min(retry_at, again)
    return verdict._replace(
        used=charge.limit.quota - left, retry_at=retry_at, degraded=FailureMode.LOCAL
    )
