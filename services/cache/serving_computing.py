"""GetOrLease, Fill, Extend and Abandon: parse, call, format."""

from typing import assert_never

from mainstay.cache.v1 import cache_service_pb2 as pb
from services.cache.answer import (
    Answer,
    Failed,
    Fresh,
    Missing,
    NegativeKnown,
    NotModified,
    Stale,
)
from services.cache.computing import Computing, Wanted
from services.cache.copies import Copies
from services.cache.fill import Fill, Filled, FillState, Found, Nothing, Unchanged, Value
from services.cache.filling import Filling
from services.cache.formatting import duration, entry_message, miss_reason, timestamp_or_unset
from services.cache.lease import DEFAULT_LEASE_MS, DEFAULT_THROTTLE_MS, Lease
from services.cache.parsing import expiry, milliseconds
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "GetOrLease": MethodPolicy(default_deadline=30.0, max_deadline=60.0, waits=True),
    "Fill": MethodPolicy(default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"value.value"})),
    "Extend": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Abandon": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
}

_STATES = {
    FillState.STORED: pb.FILL_OUTCOME_STORED,
    FillState.LEASE_LOST: pb.FILL_OUTCOME_LEASE_LOST,
    FillState.INVALIDATED: pb.FILL_OUTCOME_INVALIDATED,
}


class ComputingMethods:
    """The methods of those who compute what they do not find."""

    computing: Computing
    filling: Filling
    copies: Copies

    async def GetOrLease(
        self, request: pb.GetOrLeaseRequest, context: object
    ) -> pb.GetOrLeaseResponse:
        call = current_call()
        answer = await self.computing.get_or_lease(
            call.tenant,
            request.namespace,
            request.key,
            _wanted(request),
            remaining=call.remaining(),
        )
        return _response(answer, self.copies)

    async def Fill(self, request: pb.FillRequest, context: object) -> pb.FillResponse:
        filled = await self.filling.fill(
            current_call().tenant, request.namespace, request.key, _fill(request)
        )
        return _filled(filled)

    async def Extend(self, request: pb.ExtendRequest, context: object) -> pb.ExtendResponse:
        granted = await self.filling.extend(
            current_call().tenant,
            request.namespace,
            request.key,
            request.lease_token,
            _lease_ms(request),
        )
        if not granted:
            return pb.ExtendResponse(held=False)
        return pb.ExtendResponse(held=True, duration=duration(granted))

    async def Abandon(self, request: pb.AbandonRequest, context: object) -> pb.AbandonResponse:
        throttled = request.HasField("throttle")
        held = await self.filling.abandon(
            current_call().tenant,
            request.namespace,
            request.key,
            request.lease_token,
            error=request.error,
            throttle_ms=milliseconds(request.throttle) if throttled else DEFAULT_THROTTLE_MS,
        )
        return pb.AbandonResponse(held=held)


def _wanted(request: pb.GetOrLeaseRequest) -> Wanted:
    return Wanted(
        ttl_class=request.ttl_class,
        lease_ms=_lease_ms(request),
        wait_ms=milliseconds(request.wait) if request.HasField("wait") else None,
        fresh_only=request.fresh_only,
        if_version=request.if_version if request.HasField("if_version") else None,
    )


def _lease_ms(request: pb.GetOrLeaseRequest | pb.ExtendRequest) -> int:
    if not request.HasField("lease_duration"):
        return DEFAULT_LEASE_MS
    return milliseconds(request.lease_duration)


def _fill(request: pb.FillRequest) -> Fill:
    return Fill(
        lease_token=request.lease_token,
        found=_found(request),
        expiry=expiry(request),
        tags=tuple(request.tags),
        compute_ms=milliseconds(request.compute_duration),
    )


def _found(request: pb.FillRequest) -> Found | None:
    match request.WhichOneof("outcome"):
        case "value":
            return Value(value=request.value.value, content_type=request.value.content_type)
        case "unchanged":
            return Unchanged(version=request.unchanged.version)
        case "negative":
            return Nothing()
        case _:
            return None


def _filled(filled: Filled) -> pb.FillResponse:
    outcome, entry = _STATES[filled.state], filled.entry
    if entry is None:
        return pb.FillResponse(outcome=outcome)
    expire_time = timestamp_or_unset(entry.expiry_ms)
    return pb.FillResponse(outcome=outcome, version=entry.version, expire_time=expire_time)


def _response(answer: Answer, copies: Copies) -> pb.GetOrLeaseResponse:
    response = pb.GetOrLeaseResponse(waited=answer.waited)
    if answer.lease is not None:
        response.lease.CopyFrom(_lease(answer.lease))
    match answer:
        case Fresh(entry=entry):
            response.hit.CopyFrom(entry_message(entry, copies.max_age_ms(entry)))
        case Stale(entry=entry):
            response.stale.CopyFrom(entry_message(entry, copies.max_age_ms(entry)))
        case NegativeKnown(entry=entry):
            expire_time = timestamp_or_unset(entry.expiry_ms)
            response.negative.CopyFrom(pb.Negative(expire_time=expire_time))
        case NotModified(entry=entry):
            response.not_modified.CopyFrom(
                pb.NotModified(
                    expire_time=timestamp_or_unset(entry.expiry_ms),
                    soft_expire_time=timestamp_or_unset(entry.soft_expiry_ms),
                )
            )
        case Missing(reason=reason):
            response.miss.reason = miss_reason(reason)
        case Failed(error=error, retry_after_ms=left):
            response.failed.error = error
            response.failed.retry_after.CopyFrom(duration(left))
        case _:
            assert_never(answer)
    return response


def _lease(lease: Lease) -> pb.Lease:
    message = pb.Lease(token=lease.token, duration=duration(lease.duration_ms))
    if lease.stale_version is not None:
        message.stale_version = lease.stale_version
    return message
