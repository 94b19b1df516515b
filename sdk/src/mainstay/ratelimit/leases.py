"""The methods of the client for places, which `concurrency` is made of."""

from datetime import timedelta

from mainstay.context import new_request_id
from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.results import Acquired, Lease
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb


class Leases(Calls):
    """Takes, keeps and gives back places of concurrency rules."""

    async def acquire_lease(
        self,
        subject: str,
        endpoint: str,
        *,
        plan: str | None = None,
        ttl: timedelta | None = None,
        request_id: str | None = None,
    ) -> Acquired:
        """Take one of the places that a concurrency rule gives a subject on an endpoint.

        The place comes back by itself after `ttl` (1 s to 1 hour; 60 s) without a renewal. Being
        full is an answer: `retry_after` of the decision is when the next lease ends if nobody gives
        one back before. The call is repeated on transient errors, safely: it has a `request_id`,
        the caller's or one made here for this call. Raises NotFoundError when no concurrency rule
        covers the endpoint.
        """
        request = build(
            pb.AcquireLeaseRequest,
            subject=subject,
            endpoint=endpoint,
            plan=plan or "",
            ttl=conversions.optional_duration(ttl),
            request_id=request_id or new_request_id(),
        )
        response = await self._channel.unary(self._stub.AcquireLease, request, **REPEATABLE)
        return Acquired(
            decision=conversions.decision(response.decision),
            lease=_lease(response.lease) if response.HasField("lease") else None,
        )

    async def renew_lease(
        self,
        token: str,
        *,
        ttl: timedelta | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> Lease:
        """Keep a lease for `ttl` from now; without, for what it was acquired with.

        Raises PreconditionError (`LEASE_LOST`) when its time was over: stop what it was for.
        """
        request = build(pb.RenewLeaseRequest, token=token, ttl=conversions.optional_duration(ttl))
        response = await self._channel.unary(
            self._stub.RenewLease, request, timeout=timeout, **REPEATABLE
        )
        return _lease(response.lease)

    async def release_lease(
        self,
        token: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> bool:
        """Give a place back and return whether it was still held; one that is gone is no error."""
        request = build(pb.ReleaseLeaseRequest, token=token)
        response = await self._channel.unary(
            self._stub.ReleaseLease, request, timeout=timeout, **REPEATABLE
        )
        return response.released


def _lease(message: pb.Lease) -> Lease:
    return Lease(
        token=message.token,
        expire_time=conversions.utc(message.expire_time),
        ttl=conversions.length_of(message.ttl),
    )
