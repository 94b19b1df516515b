"""The methods of the client for the lease protocol, which `get_or_compute` is made of."""

from collections.abc import Iterable
from datetime import timedelta

from mainstay.cache import conversions
from mainstay.cache.calls import ONCE, REPEATABLE, Calls, Repeatable
from mainstay.cache.results import (
    Failed,
    Filled,
    FillOutcome,
    Hit,
    Lease,
    Miss,
    Negative,
    Nothing,
    NotModified,
    Offer,
    Stale,
    Unchanged,
)
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.errors import ValidationError

MOST_ERROR_CHARACTERS = 500
# Longer than the service holds a caller, so that its answer and not the deadline ends the wait.
_GRACE_SECONDS = 1.0
_OUTCOMES = {
    pb.FILL_OUTCOME_STORED: FillOutcome.STORED,
    pb.FILL_OUTCOME_LEASE_LOST: FillOutcome.LEASE_LOST,
    pb.FILL_OUTCOME_INVALIDATED: FillOutcome.INVALIDATED,
}


class Leases(Calls):
    """Asks for entries ready to compute them, and answers with what was computed."""

    async def get_or_lease(
        self,
        namespace: str,
        key: str,
        *,
        ttl_class: str | None = None,
        lease_duration: timedelta | None = None,
        wait: timedelta | None = None,
        fresh_only: bool = False,
        if_version: int | None = None,
    ) -> Offer:
        """Return the entry, or a lease that makes this caller the one who computes it.

        Whoever gets a lease answers with `fill` or `abandon`, and with `extend` when it takes
        longer than `lease_duration` (10 ms to 10 minutes; 10 s). While another computes the call is
        held for `wait` (up to a minute; without, until shortly before the channel's timeout; zero:
        not at all), except where a stale value may be served: `fresh_only` refuses those. With
        `if_version` an entry that still has it comes without its bytes, as `NotModified`.
        `ttl_class` is the class that the value would be stored in, and decides on early refresh.
        """
        return await self._get_or_lease(
            pb.GetOrLeaseRequest(
                namespace=namespace,
                key=key,
                ttl_class=ttl_class or "",
                lease_duration=conversions.optional_duration(lease_duration),
                wait=conversions.optional_duration(wait),
                fresh_only=fresh_only,
                if_version=if_version,
            ),
            timeout=None if wait is None else wait.total_seconds() + _GRACE_SECONDS,
            repeat=REPEATABLE,
        )

    async def _get_or_lease(
        self,
        request: pb.GetOrLeaseRequest,
        *,
        timeout: float | None,  # noqa: ASYNC109 - it becomes the call's deadline
        repeat: Repeatable,
    ) -> Offer:
        response = await self._channel.unary(
            self._stub.GetOrLease, request, timeout=timeout, **repeat
        )
        given = response.lease
        return Offer(
            found=_found(response),
            lease=_lease(request, given) if response.HasField("lease") else None,
            waited=response.waited,
        )

    async def fill(
        self,
        lease: Lease,
        outcome: bytes | Nothing | Unchanged,
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        content_type: str = "",
        tags: Iterable[str] = (),
        compute_duration: timedelta = timedelta(),
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> Filled:
        """Store what was computed and wake those who wait.

        `outcome` is the value, or `NOTHING` when the source has nothing under the key, or
        `UNCHANGED` when the stale entry that the lease refreshes is still right. `compute_duration`
        is what a hit saves, and says how early to refresh. A lease that was lost, or an entry that
        was invalidated since, stores nothing: the answer says so, and the value is still good for
        this caller. Not repeated on errors: a repeat of a fill that arrived finds the lease gone.
        """
        request = pb.FillRequest(
            namespace=lease.namespace,
            key=lease.key,
            lease_token=lease.token,
            tags=conversions.texts(tags, "tags"),
            compute_duration=conversions.duration(compute_duration),
            **conversions.expiry(ttl, ttl_class),
        )
        _set_outcome(request, lease, outcome, content_type)
        with self._replacing(lease.namespace, [lease.key]):
            response = await self._channel.unary(self._stub.Fill, request, timeout=timeout, **ONCE)
        return Filled(
            outcome=_OUTCOMES.get(response.outcome, FillOutcome.UNKNOWN),
            version=response.version,
            expire_time=conversions.expire_time(response),
        )

    async def extend(
        self,
        lease: Lease,
        duration: timedelta | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> timedelta | None:
        """Lengthen a lease to `duration` from now and return how long it lasts; None: it is lost.

        Without `duration` it gets the service's default of 10 s. A lease lasts an hour in all.
        """
        request = pb.ExtendRequest(
            namespace=lease.namespace,
            key=lease.key,
            lease_token=lease.token,
            lease_duration=conversions.optional_duration(duration),
        )
        response = await self._channel.unary(
            self._stub.Extend, request, timeout=timeout, **REPEATABLE
        )
        return response.duration.ToTimedelta() if response.held else None

    async def abandon(
        self,
        lease: Lease,
        *,
        error: str = "",
        throttle: timedelta | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> bool:
        """Give a lease back without a value and return whether it was still held.

        Somebody else may compute at once; unless there was an `error` (its first 500 characters are
        told), in which case nobody does for `throttle` (up to 5 minutes; 1 s) and stale values are
        served.
        """
        request = pb.AbandonRequest(
            namespace=lease.namespace,
            key=lease.key,
            lease_token=lease.token,
            error=error[:MOST_ERROR_CHARACTERS],
            throttle=conversions.optional_duration(throttle),
        )
        response = await self._channel.unary(
            self._stub.Abandon, request, timeout=timeout, **REPEATABLE
        )
        return response.held


def _set_outcome(
    request: pb.FillRequest, lease: Lease, outcome: bytes | Nothing | Unchanged, content_type: str
) -> None:
    if isinstance(outcome, bytes):
        request.value.CopyFrom(pb.FilledValue(value=outcome, content_type=content_type))
    elif outcome is Nothing.NOTHING:
        request.negative.SetInParent()
    elif lease.stale_version is not None:
        request.unchanged.version = lease.stale_version
    else:
        raise ValidationError(
            f"there is no stale entry {lease.key!r} that could be unchanged; fill in a value",
            fields={"outcome": "a value or NOTHING, as the lease refreshes no entry"},
        )


def _lease(request: pb.GetOrLeaseRequest, lease: pb.Lease) -> Lease:
    return Lease(
        namespace=request.namespace,
        key=request.key,
        token=lease.token,
        duration=lease.duration.ToTimedelta(),
        stale_version=lease.stale_version if lease.HasField("stale_version") else None,
    )


def _found(
    response: pb.GetOrLeaseResponse,
) -> Hit | Stale | Negative | NotModified | Miss | Failed:
    match response.WhichOneof("result"):
        case "hit":
            return conversions.hit(response.hit)
        case "stale":
            return Stale(entry=conversions.hit(response.stale))
        case "negative":
            return Negative(expire_time=conversions.utc(response.negative.expire_time))
        case "not_modified":
            confirmed = response.not_modified
            return NotModified(
                expire_time=conversions.expire_time(confirmed),
                soft_expire_time=conversions.soft_expire_time(confirmed),
            )
        case "failed":
            failed = response.failed
            return Failed(error=failed.error, retry_after=failed.retry_after.ToTimedelta())
        case _:
            # A result that only a newer service knows has nothing that this one could give back.
            return conversions.miss(response.miss)
