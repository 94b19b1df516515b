"""AcquireLease, RenewLease and ReleaseLease: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.act import Act
from services.ratelimit.concurrency import DEFAULT_TTL
from services.ratelimit.formatting import decision_message, duration, timestamp
from services.ratelimit.lease import Lease
from services.ratelimit.leasing import Leasing
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "AcquireLease": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "RenewLease": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "ReleaseLease": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
}


class LeaseMethods:
    """The methods of those who hold places."""

    leasing: Leasing

    async def AcquireLease(
        self, request: pb.AcquireLeaseRequest, context: object
    ) -> pb.AcquireLeaseResponse:
        ttl = _ttl(request)
        decision, lease = await self.leasing.acquire(
            current_call().tenant,
            Act.of(request.subject, request.endpoint, request.plan, 1),
            ttl=DEFAULT_TTL if ttl is None else ttl,
            request_id=request.request_id,
        )
        return pb.AcquireLeaseResponse(
            decision=decision_message(decision), lease=None if lease is None else _lease(lease)
        )

    async def RenewLease(
        self, request: pb.RenewLeaseRequest, context: object
    ) -> pb.RenewLeaseResponse:
        lease = await self.leasing.renew(current_call().tenant, request.token, _ttl(request))
        return pb.RenewLeaseResponse(lease=_lease(lease))

    async def ReleaseLease(
        self, request: pb.ReleaseLeaseRequest, context: object
    ) -> pb.ReleaseLeaseResponse:
        released = await self.leasing.release(current_call().tenant, request.token)
        return pb.ReleaseLeaseResponse(released=released)


def _ttl(request: pb.AcquireLeaseRequest | pb.RenewLeaseRequest) -> int | None:
    return parsing.microseconds(request.ttl, "ttl") if request.HasField("ttl") else None


def _lease(lease: Lease) -> pb.Lease:
    return pb.Lease(
        token=lease.token, expire_time=timestamp(lease.expires_at), ttl=duration(lease.ttl)
    )
