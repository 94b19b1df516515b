"""`mainstay.ratelimit.v1.RateLimitService`: parse, call, format."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, LimitState
from services.ratelimit.headers import response_headers
from services.ratelimit.limiter import Limiter
from services.ratelimit.policy import SECOND
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

# A verdict that comes late is worth nothing: the request it was for waits.
METHODS = {
    "Check": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Peek": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
}


class RateLimitServicer(pb_grpc.RateLimitServiceServicer):
    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:
        decision = await self._limiter.check(current_call().tenant, _act(request))
        return pb.CheckResponse(decision=_decision(decision))

    async def Peek(self, request: pb.PeekRequest, context: object) -> pb.PeekResponse:
        decision = await self._limiter.peek(current_call().tenant, _act(request))
        return pb.PeekResponse(decision=_decision(decision))


def _act(request: pb.CheckRequest | pb.PeekRequest) -> Act:
    return Act.of(
        subject=request.subject,
        endpoint=request.endpoint,
        plan=request.plan,
        cost=request.cost if request.HasField("cost") else 1,
    )


def _decision(decision: Decision) -> pb.Decision:
    return pb.Decision(
        outcome=pb.OUTCOME_ALLOWED if decision.allowed else pb.OUTCOME_DENIED,
        rule=decision.rule,
        plan=decision.plan,
        limit=None if decision.state is None else _limit_state(decision.state),
        retry_after=None if decision.retry_after is None else _duration(decision.retry_after),
        headers=[pb.Header(name=name, value=value) for name, value in response_headers(decision)],
    )


def _limit_state(state: LimitState) -> pb.LimitState:
    seconds, rest = divmod(state.reset_at, SECOND)
    return pb.LimitState(
        limit=state.limit.quota,
        window=_duration(state.limit.window),
        remaining=state.remaining,
        reset_time=Timestamp(seconds=seconds, nanos=rest * 1_000),
    )


def _duration(microseconds: int) -> Duration:
    seconds, rest = divmod(microseconds, SECOND)
    return Duration(seconds=seconds, nanos=rest * 1_000)
