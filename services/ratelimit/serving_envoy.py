"""Envoy's rate limit protocol, on the same port as ours: parse, call, format."""

import hashlib
from collections.abc import Iterator

from google.protobuf.wrappers_pb2 import UInt32Value

from mainstay.envoy.ratelimit.v3 import rls_pb2 as pb
from mainstay.envoy.ratelimit.v3 import rls_pb2_grpc as pb_grpc
from services.ratelimit.act import MAX_COST
from services.ratelimit.checks import range_fault, refuse
from services.ratelimit.decision import LimitState
from services.ratelimit.envoy_call import (
    EnvoyAnswer,
    EnvoyDescriptor,
    EnvoyLimit,
    EnvoyOutcome,
)
from services.ratelimit.envoy_limiting import EnvoyLimiting
from services.ratelimit.envoy_policy import EnvoyEntry
from services.ratelimit.formatting import duration
from services.ratelimit.headers import response_headers
from services.ratelimit.policy import DAY, SECOND, Calendar, Limit
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "ShouldRateLimit": MethodPolicy(
        default_deadline=1.0, max_deadline=10.0, scope="ratelimit:check"
    )
}
MAX_DESCRIPTORS = 32

_MAX_UINT32 = 2**32 - 1
_WINDOWS = {
    pb.SECOND: "s",
    pb.MINUTE: "min",
    pb.HOUR: "h",
    pb.DAY: "d",
    pb.MONTH: "month",
}
_RateLimit = pb.RateLimitResponse.RateLimit
# The longest first: a window is told in the longest unit that measures it.
_UNITS = (
    (7 * DAY, _RateLimit.WEEK),
    (DAY, _RateLimit.DAY),
    (3_600 * SECOND, _RateLimit.HOUR),
    (60 * SECOND, _RateLimit.MINUTE),
    (SECOND, _RateLimit.SECOND),
)


class EnvoyServicer(pb_grpc.RateLimitServiceServicer):
    """`envoy.service.ratelimit.v3.RateLimitService`."""

    def __init__(self, limiting: EnvoyLimiting) -> None:
        self._limiting = limiting

    async def ShouldRateLimit(
        self, request: pb.RateLimitRequest, context: object
    ) -> pb.RateLimitResponse:
        descriptors = _descriptors(request)
        answer = await self._limiting.ask(current_call().tenant, request.domain, descriptors)
        return _response(answer)


def _descriptors(request: pb.RateLimitRequest) -> list[EnvoyDescriptor]:
    count = len(request.descriptors)
    refuse({"descriptors": range_fault(count, 0, MAX_DESCRIPTORS)})
    hits = request.hits_addend or 1
    parsed = [_descriptor(descriptor, hits) for descriptor in request.descriptors]
    refuse(
        {
            f"descriptors[{index}].hits_addend": range_fault(descriptor.hits, 0, MAX_COST)
            for index, descriptor in enumerate(parsed)
        }
    )
    return parsed


def _descriptor(descriptor: pb.RateLimitDescriptor, hits: int) -> EnvoyDescriptor:
    return EnvoyDescriptor(
        [EnvoyEntry(entry.key, _text(entry.value)) for entry in descriptor.entries],
        descriptor.hits_addend.value if descriptor.HasField("hits_addend") else hits,
        descriptor.is_negative_hits,
        _limit(descriptor.limit) if descriptor.HasField("limit") else None,
    )


def _text(value: bytes) -> str:
    """Return a value as text; one that is none gets a name, so that it is limited like others."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"sha256:{hashlib.sha256(value).hexdigest()}"


def _limit(limit: pb.RateLimitDescriptor.RateLimitOverride) -> EnvoyLimit:
    multiple = limit.unit_multiplier.value if limit.HasField("unit_multiplier") else 1
    # Units without a word in the policy, such as years, are refused there.
    return EnvoyLimit(limit.requests_per_unit, f"{multiple}{_WINDOWS.get(limit.unit, '?')}")


def _response(answer: EnvoyAnswer) -> pb.RateLimitResponse:
    return pb.RateLimitResponse(
        overall_code=_code(over_limit=answer.over_limit),
        statuses=[_status(outcome) for outcome in answer.outcomes],
        response_headers_to_add=_headers(answer),
    )


def _headers(answer: EnvoyAnswer) -> Iterator[pb.HeaderValue]:
    if answer.decision is not None:
        for name, value in response_headers(answer.decision):
            yield pb.HeaderValue(key=name, value=value)


def _status(outcome: EnvoyOutcome) -> pb.RateLimitResponse.DescriptorStatus:
    status = pb.RateLimitResponse.DescriptorStatus(code=_code(over_limit=outcome.over_limit))
    state = outcome.state
    if state is not None:
        status.current_limit.CopyFrom(_current_limit(state))
        status.limit_remaining = min(state.remaining, _MAX_UINT32)
        status.duration_until_reset.CopyFrom(duration(state.reset_after))
    return status


def _code(*, over_limit: bool) -> pb.RateLimitResponse.Code.ValueType:
    return pb.RateLimitResponse.OVER_LIMIT if over_limit else pb.RateLimitResponse.OK


def _current_limit(state: LimitState) -> pb.RateLimitResponse.RateLimit:
    unit, multiple = _unit(state.limit)
    limit = _RateLimit(
        requests_per_unit=min(state.limit.quota, _MAX_UINT32), unit=unit, name=state.rule.name
    )
    if multiple > 1:
        limit.unit_multiplier.CopyFrom(UInt32Value(value=multiple))
    return limit


def _unit(limit: Limit) -> tuple[pb.RateLimitResponse.RateLimit.Unit.ValueType, int]:
    if limit.calendar is Calendar.MONTH:
        return _RateLimit.MONTH, 1
    for length, unit in _UNITS:
        if limit.window % length == 0:
            return unit, limit.window // length
    raise AssertionError("windows are whole seconds")
