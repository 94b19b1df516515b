"""`get_or_compute`: the value from the cache, or computed once for everybody who wants it."""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from mainstay.cache import conversions
from mainstay.cache.calls import REPEATABLE
from mainstay.cache.flights import Flight, Flights, Outcome, Stage
from mainstay.cache.leased_work import Compute, Computed, LeasedWork, Work
from mainstay.cache.leases import Leases
from mainstay.cache.near import NearCache
from mainstay.cache.reachability import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    UNREACHABLE,
    Reachability,
)
from mainstay.cache.results import Failed, FillOutcome, Hit, Lease, Negative, Offer, Stale
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import CancelledError, ExternalApiError
from mainstay.owned_tasks import OwnedTasks

_log = logging.getLogger("mainstay.cache")

LEASE_DURATION = timedelta(seconds=10)
# The longest that a call may take is a minute; the service is to answer before that is over. A
# caller's `timeout` is no bound for the flight, which others may have joined.
_WAIT_SECONDS = 60.0 - ANSWER_SECONDS
_MOST_REFRESHES = 64

OnUnavailable: TypeAlias = Literal["compute", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a caller of `get_or_compute` wants besides the work."""

    tenant: str
    work: Work
    on_unavailable: OnUnavailable
    fresh_only: bool


class Computing(Leases):
    """Gets values from the cache and computes those that are not there."""

    def __init__(self, channel: Channel, near: NearCache | None) -> None:
        super().__init__(channel, near)
        self._flights = Flights()
        self._refreshes = OwnedTasks()
        self._reachability = Reachability(self._knock)
        self._leased = LeasedWork(self, self._reachability)
        self._closed = False

    async def get_or_compute(
        self,
        namespace: str,
        key: str,
        compute: Compute,
        *,
        ttl_class: str | None = None,
        ttl: timedelta | None = None,
        tags: Iterable[str] = (),
        content_type: str = "",
        on_unavailable: OnUnavailable = "compute",
        fresh_only: bool = False,
        lease_duration: timedelta = LEASE_DURATION,
        timeout: float | None = None,  # noqa: ASYNC109 - one caller's share of a common wait
    ) -> bytes | None:
        """Return the entry's value; where there is none, compute and store it, once for everybody.

        `compute` takes no arguments and returns the bytes; or a `Computed`, which can say more; or
        `NOTHING` when the source has nothing under the key, which is remembered for as long as the
        class's negative TTL says: then None is returned. It runs in one place at a time, over all
        processes: everybody else waits for its value, held by the service.

        - An entry past its soft expiry is returned at once, and computed anew in the background.
          `fresh_only` refuses such entries.
        - Callers in this process share one computation, that of the first of them, with its
          arguments and in its request's context. It is cancelled when none of them is left. It must
          not ask for its own key, which would be to wait for itself.
        - What `compute` raises is raised to all who share it. For a moment afterwards nobody tries
          again: `ExternalApiError`, reason `COMPUTATION_FAILED`, with a `retry_after`, unless there
          is a stale value, which is then returned.
        - When the cache cannot be reached, within about a second, or at once when that was so a
          moment ago, the value is computed here and not stored; with `on_unavailable="raise"` the
          error is raised instead. Such a computation may have begun before its caller asked.
        - A value that could not be stored is returned all the same; why is logged.

        The lease is extended while `compute` runs; `lease_duration` (10 ms to 10 minutes) is how
        soon another process takes over from one that has died. `timeout`, in seconds, bounds this
        caller's wait and raises `DeadlineError`; without, it lasts as long as the computation.
        """
        if self._closed:
            raise CancelledError("the cache client is closed; use it before `close`")
        near, tenant = self._near, self._tenant()
        if near is not None and (copy := near.get(tenant, namespace, key)) is not None:
            return copy.value
        conversions.expiry(ttl, ttl_class)  # refuses both at once
        wish = _Wish(
            tenant=tenant,
            work=Work(
                namespace=namespace,
                key=key,
                compute=compute,
                ttl=ttl,
                ttl_class=ttl_class,
                tags=tuple(conversions.texts(tags, "tags")),
                content_type=content_type,
                lease_duration=lease_duration,
            ),
            on_unavailable=on_unavailable,
            fresh_only=fresh_only,
        )
        return await self._flights.share(
            (tenant, namespace, key, fresh_only, on_unavailable),
            lambda flight: self._fly(flight, wish),
            deadline=None if timeout is None else time.monotonic() + timeout,
            what=str(wish.work),
        )

    async def _fly(self, flight: Flight, wish: _Wish) -> Outcome:
        flight.enter(Stage.ASKING)
        try:
            offer = await self._ask(wish)
        except UNREACHABLE:
            if wish.on_unavailable == "raise":
                raise
            return await _compute_alone(flight, wish.work)
        lease, found = offer.lease, offer.found
        match found:
            case Hit() | Stale() | Negative():
                flight.enter(Stage.CLOSED)
                if lease is not None:
                    self._refresh(wish.work, lease)
                return Outcome(value=_value(found), latest=Stage.GATHERING)
            case Failed() if lease is None:
                raise _computation_failed(wish.work, found)
        if lease is None:
            # The wait is over. Without a lease nothing tells whether the value is still right, so
            # it is for those only who were here before.
            flight.enter(Stage.CLOSED)
            outcome = await _compute_alone(flight, wish.work)
            return Outcome(value=outcome.value, latest=Stage.ASKING)
        return await self._compute(flight, wish.work, lease)

    async def _compute(self, flight: Flight, work: Work, lease: Lease) -> Outcome:
        flight.enter(Stage.COMPUTING)
        value, became = await self._leased.run(
            work,
            lease,
            on_computed=lambda: flight.enter(Stage.CLOSED),
            on_lost=lambda: None,  # the value is still good for whoever waits
        )
        # What could not be stored for want of room or of a cache is shared: nobody is known to
        # have invalidated it, and the source is to be spared.
        shared = became in {FillOutcome.STORED, None}
        return Outcome(value=value, latest=Stage.COMPUTING if shared else Stage.ASKING)

    def _refresh(self, work: Work, lease: Lease) -> None:
        """Compute anew in the background, or leave it to others when too many are at it."""
        if len(self._refreshes) >= _MOST_REFRESHES:
            _log.info("left the refresh of %s to others: %d are at it", work, _MOST_REFRESHES)
            self._leased.give_back(lease)
            return
        self._refreshes.start(self._run_refresh(work, lease), f"refreshing {work}")

    async def _run_refresh(self, work: Work, lease: Lease) -> None:
        task = asyncio.current_task()
        assert task is not None

        def give_up() -> None:
            task.cancel()  # nobody waits for a value that cannot be stored

        try:
            await self._leased.run(work, lease, on_computed=lambda: None, on_lost=give_up)
        except Exception:  # noqa: BLE001 - whatever `compute` raises; it is reported and logged
            _log.exception("could not refresh %s; its stale value is served on", work)

    async def _ask(self, wish: _Wish) -> Offer:
        """Ask the service, which may hold the call; raise when it seems not to be there."""
        self._reachability.admit()
        try:
            async with self._reachability.listening():
                offer = await self._ask_service(wish)
        except UNREACHABLE as error:
            self._reachability.failed(error)
            raise
        self._reachability.answered()
        return offer

    async def _ask_service(self, wish: _Wish) -> Offer:
        work, near = wish.work, self._near
        request = pb.GetOrLeaseRequest(
            namespace=work.namespace,
            key=work.key,
            ttl_class=work.ttl_class or "",
            lease_duration=conversions.duration(work.lease_duration),
            wait=conversions.duration(timedelta(seconds=_WAIT_SECONDS)),
            fresh_only=wish.fresh_only,
        )
        timeout = _WAIT_SECONDS + ANSWER_SECONDS
        if near is None:
            return await self._get_or_lease(request, timeout=timeout, repeat=REPEATABLE)
        with near.reading(wish.tenant) as reading:
            offer = await self._get_or_lease(request, timeout=timeout, repeat=REPEATABLE)
            # With a lease it is about to be replaced, by us.
            if isinstance(offer.found, Hit) and offer.lease is None:
                near.keep(reading, wish.tenant, work.namespace, work.key, offer.found)
        return offer

    async def _knock(self) -> None:
        """Ask for what the service answers at once, with or without its store."""
        await self._channel.unary(
            self._stub.ListClasses, pb.ListClassesRequest(), timeout=SILENCE_SECONDS
        )

    async def close(self) -> None:
        """Cancel what runs in the background, give back its leases, and wait for that."""
        self._closed = True
        await asyncio.gather(self._flights.close(), self._refreshes.cancel())
        await self._leased.close()
        await self._reachability.close()
        if self._near is not None:
            await self._near.close()


async def _compute_alone(flight: Flight, work: Work) -> Outcome:
    """Compute without storing."""
    if flight.stage is not Stage.CLOSED:
        flight.enter(Stage.COMPUTING)
    computed = await work.run()
    value = computed.value if isinstance(computed, Computed) else None
    return Outcome(value=value, latest=Stage.COMPUTING)


def _value(found: Hit | Stale | Negative) -> bytes | None:
    match found:
        case Hit():
            return found.value
        case Stale():
            return found.entry.value
        case Negative():
            return None


def _computation_failed(work: Work, failed: Failed) -> ExternalApiError:
    seconds = failed.retry_after.total_seconds()
    return ExternalApiError(
        f"{work} could not be computed a moment ago: {failed.error}; "
        f"it may be tried again in {seconds:g} s",
        reason="COMPUTATION_FAILED",
        retry_after=seconds,
    )
