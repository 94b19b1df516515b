"""A place that is held for as long as a block runs."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from mainstay.errors import MainstayError, PreconditionError
from mainstay.ratelimit.denial import denied
from mainstay.ratelimit.leases import Leases
from mainstay.ratelimit.results import Acquired, Decision, Lease

LEASE_LOST = "LEASE_LOST"
# Who releases waits for it no longer than this: the place comes back by itself too.
RELEASE_SECONDS = 2.0
_BEATS = 3
_BEATS_AFTER_A_FAILURE = 10
_SHORTEST_CALL_SECONDS = 0.25

_log = logging.getLogger("mainstay.ratelimit")


class Place:
    """A place of a concurrency rule, held until its block ends.

    Attributes:
        decision: What was decided when it was taken.
        lost: Set when the place is somebody else's: the service said so, or could not be reached
            for as long as the place lasts. The block is not cancelled; whoever must not go on
            without a place waits for this beside its work, or calls `check` now and then.

    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.lost = asyncio.Event()

    def check(self) -> None:
        """Raise PreconditionError (`LEASE_LOST`) when the place is somebody else's."""
        if self.lost.is_set():
            raise PreconditionError(
                f"the place under rule {self.decision.rule} was lost: its time was over before it "
                "could be renewed; stop and acquire it again",
                reason=LEASE_LOST,
            )


class Concurrency(Leases):
    """Holds places for blocks."""

    @asynccontextmanager
    async def concurrency(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        ttl: timedelta | None = None,
    ) -> AsyncGenerator[Place, None]:
        """Hold one of the places that a concurrency rule gives a subject while the block runs.

        ::

            async with limits.concurrency("user:42", "video_processing") as place:
                ...

        The place is renewed in the background at a third of its `ttl` (1 s to 1 hour; 60 s), and
        given back when the block ends, however it ends. A process that dies gives it back after
        `ttl`. `place.lost` is set when it could not be kept.

        Raises RateLimitError with `retry_after` when all places are taken, RateLimitStoreError when
        nobody can tell, NotFoundError when no concurrency rule covers the endpoint. A rule that is
        unlimited, or open while its counters cannot be reached, lets the block run without a place.
        """
        sent = time.monotonic()
        acquired = await self._acquired(subject, endpoint, plan, ttl)
        if not acquired.decision.allowed:
            raise denied(acquired.decision, subject)
        place = Place(acquired.decision)
        if acquired.lease is None:
            yield place
            return
        keeping = asyncio.create_task(
            self._keep(acquired.lease, sent), name=f"keeping a place on {endpoint[:100]}"
        )
        keeping.add_done_callback(partial(_tell_lost, place))
        try:
            yield place
        finally:
            keeping.cancel()
            release = self._releasing(acquired.lease)
            await asyncio.wait({keeping, release})

    async def _acquired(
        self, subject: str, endpoint: str, plan: str | None, ttl: timedelta | None
    ) -> Acquired:
        """Acquire beside the caller, who may be cancelled when the place is already taken."""
        acquiring = self._beside.start(
            self.acquire_lease(subject, endpoint, plan=plan, ttl=ttl),
            f"acquiring a place on {endpoint[:100]}",
        )
        try:
            return await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(self._release_what_nobody_waits_for)
            raise

    def _release_what_nobody_waits_for(self, acquiring: asyncio.Task[Acquired]) -> None:
        if acquiring.cancelled() or acquiring.exception() is not None:
            return
        if (lease := acquiring.result().lease) is not None:
            self._releasing(lease)

    def _releasing(self, lease: Lease) -> asyncio.Task[None]:
        return self._beside.start(self._release(lease), "releasing a place")

    async def _release(self, lease: Lease) -> None:
        try:
            await self.release_lease(lease.token, timeout=RELEASE_SECONDS)
        except MainstayError as error:
            _log.info("could not release a place, which comes back by itself: %s", error.message)

    async def _keep(self, lease: Lease, sent: float) -> None:
        """Renew until it is lost; `sent` is from before its time began, by a clock that runs."""
        whole = lease.ttl.total_seconds()
        ends, pause = sent + whole, whole / _BEATS
        while (left := ends - time.monotonic()) > 0:
            await asyncio.sleep(min(left, pause))
            sent = time.monotonic()
            pause = whole / _BEATS_AFTER_A_FAILURE
            allowed = min(max(pause, _SHORTEST_CALL_SECONDS), max(ends - sent, 0.01))
            try:
                lease = await self.renew_lease(lease.token, timeout=allowed)
            except MainstayError as error:
                if error.reason == LEASE_LOST:
                    break
                _log.info("could not renew a place yet: %s", error.message)
                continue
            whole = lease.ttl.total_seconds()
            ends, pause = sent + whole, whole / _BEATS


def _tell_lost(place: Place, keeping: asyncio.Task[None]) -> None:
    if keeping.cancelled():
        return  # because the block has ended
    _log.warning("lost a place under rule %s", place.decision.rule, exc_info=keeping.exception())
    place.lost.set()
