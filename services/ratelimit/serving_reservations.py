"""ReserveTokens and ReturnTokens: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.act import MAX_COST, Act
from services.ratelimit.checks import range_fault, refuse
from services.ratelimit.formatting import decision_message, duration, timestamp
from services.ratelimit.reservation import Share
from services.ratelimit.reserving import Reserving
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "ReserveTokens": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "ReturnTokens": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
}


class ReservationMethods:
    """The methods of those who spend without asking each time."""

    reserving: Reserving

    async def ReserveTokens(
        self, request: pb.ReserveTokensRequest, context: object
    ) -> pb.ReserveTokensResponse:
        refuse({"amount": range_fault(request.amount, 1, MAX_COST)})
        decision, share = await self.reserving.reserve(
            current_call().tenant,
            Act.of(request.subject, request.endpoint, request.plan, request.amount),
            least=request.min_amount if request.HasField("min_amount") else 1,
            ttl=parsing.microseconds(request.ttl, "ttl") if request.HasField("ttl") else None,
        )
        return pb.ReserveTokensResponse(
            decision=decision_message(decision),
            reservation=None if share is None else _reservation(share),
        )

    async def ReturnTokens(
        self, request: pb.ReturnTokensRequest, context: object
    ) -> pb.ReturnTokensResponse:
        returned = await self.reserving.give_back(
            current_call().tenant, request.token, request.unused
        )
        return pb.ReturnTokensResponse(returned=returned)


def _reservation(share: Share) -> pb.TokenReservation:
    return pb.TokenReservation(
        token=share.token,
        amount=share.amount,
        expire_time=timestamp(share.expires_at),
        ttl=duration(share.ttl),
    )
