"""How an error travels: `google.rpc.Status` in the trailing metadata `grpc-status-details-bin`.

Both directions stand here so that they cannot drift apart. The messages are wire twins of google's
(protos/mainstay/rpc/v1/status.proto), which keeps the SDK at grpcio and protobuf.
"""

from collections.abc import Iterable, Iterator, Mapping

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from mainstay import errors, handshakes
from mainstay.rpc.v1 import status_pb2

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
DOMAIN = "mainstay"
# Peers may drop metadata above 8 KB. All details together stay below 4,000 bytes, in base64
# 5,300; the message is sent once more, percent-encoded: at most 2,400.
_MAX_MESSAGE = 800
_MAX_WORD = 128
_MAX_SENTENCE = 200
_ROOM_FOR_METADATA = 900
_ROOM_FOR_SPECIFICS = 900
_MAX_ENTRIES = 16
_LONGEST_DELAY = 1e9
_TYPE_PREFIX = "type.googleapis.com/google.rpc."

_DETAILS: dict[str, type[Message]] = {
    kind.DESCRIPTOR.name: kind
    for kind in (
        status_pb2.ErrorInfo,
        status_pb2.RequestInfo,
        status_pb2.RetryInfo,
        status_pb2.BadRequest,
        status_pb2.ResourceInfo,
        status_pb2.QuotaFailure,
        status_pb2.PreconditionFailure,
        status_pb2.LocalizedMessage,
        status_pb2.Help,
    )
}
_BY_NAME = {kind.__name__: kind for kind in errors.error_types()}
_BY_REASON = {kind.default_reason: kind for kind in errors.error_types()}
_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RateLimitError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.ValidationError,
    grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: errors.AuthorizationError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ABORTED: errors.ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.CANCELLED: errors.CancelledError,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnimplementedError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.DATA_LOSS: errors.StorageDamagedError,
}


class _Room:
    """Bytes that texts of callers may take up; what does not fit is cut off."""

    def __init__(self, size: int) -> None:
        self._left = size

    def cut(self, text: str, most: int = _MAX_MESSAGE) -> str:
        """Return the beginning of `text` that fits."""
        cut = _cut(text, min(most, self._left))
        self._left -= len(cut.encode())
        return cut

    def entries(self, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Yield the first names with their texts, as long as they fit."""
        for name, text in list(texts.items())[:_MAX_ENTRIES]:
            if cut := self.cut(name, _MAX_WORD):
                yield cut, self.cut(text)


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def wire_message(error: errors.MainstayError) -> str:
    """Return the message as far as it travels."""
    return _cut(error.message, _MAX_MESSAGE)


def to_status(error: errors.MainstayError, *, request_id: str) -> status_pb2.Status:
    """Return the error as a status with one detail of each kind that applies."""
    status = status_pb2.Status(code=error.code.value[0], message=wire_message(error))
    for detail in _details(error, request_id):
        packed = status.details.add()
        packed.type_url = _TYPE_PREFIX + type(detail).__name__
        packed.value = detail.SerializeToString()
    return status


def _details(error: errors.MainstayError, request_id: str) -> Iterator[Message]:
    info = status_pb2.ErrorInfo(reason=_cut(error.reason, _MAX_WORD), domain=DOMAIN)
    for key, value in _Room(_ROOM_FOR_METADATA).entries(error.metadata):
        info.metadata[key] = value
    # The kind lets a client in any language, ours included, raise the class that was raised here.
    info.metadata["kind"] = type(error).__name__
    yield info
    error_id = _cut(error.metadata.get("error_id", ""), _MAX_WORD)
    yield status_pb2.RequestInfo(request_id=request_id, serving_data=error_id)
    delay = _milliseconds(error.retry_after)
    if delay is not None:
        retry = status_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(delay)
        yield retry
    user_message, recovery = (_cut(s, _MAX_SENTENCE) for s in (error.user_message, error.recovery))
    yield status_pb2.LocalizedMessage(locale="en", message=user_message)
    yield status_pb2.Help(links=[status_pb2.Help.Link(description=recovery)])
    yield from _specific_details(error)


def _specific_details(error: errors.MainstayError) -> Iterator[Message]:
    room = _Room(_ROOM_FOR_SPECIFICS)
    match error:
        case errors.ValidationError():
            yield status_pb2.BadRequest(
                field_violations=[
                    status_pb2.BadRequest.FieldViolation(field=name, description=text)
                    for name, text in room.entries(error.fields)
                ]
            )
        case errors.NotFoundError() | errors.AlreadyExistsError():
            yield status_pb2.ResourceInfo(
                resource_type=room.cut(error.resource_type, _MAX_WORD),
                resource_name=room.cut(error.resource_name),
            )
        case (
            errors.RateLimitError()
            | errors.AiQuotaError()
            | errors.PlanLimitError()
            | errors.StorageFullError()
        ):
            violation = status_pb2.QuotaFailure.Violation(
                subject=room.cut(error.metadata.get("subject", ""), _MAX_WORD),
                description=room.cut(error.message),
            )
            yield status_pb2.QuotaFailure(violations=[violation])
        case errors.QuotaError():
            yield status_pb2.QuotaFailure(
                violations=[
                    status_pb2.QuotaFailure.Violation(subject=quota, description=text)
                    for quota, text in room.entries(error.violations)
                ]
            )
        case errors.PreconditionError() | errors.AiContentError():
            unmet = status_pb2.PreconditionFailure.Violation(
                type=room.cut(error.reason, _MAX_WORD),
                subject=room.cut(error.metadata.get("subject", ""), _MAX_WORD),
                description=room.cut(error.message),
            )
            yield status_pb2.PreconditionFailure(violations=[unmet])
        case errors.FeatureGateError():
            need = status_pb2.PreconditionFailure.Violation(
                type="FEATURE",
                subject=room.cut(error.metadata.get("feature", ""), _MAX_WORD),
                description=room.cut(error.message),
            )
            yield status_pb2.PreconditionFailure(violations=[need])
        case _:
            return


def _milliseconds(delay: float | None) -> int | None:
    """Return a delay that can be waited for, or None."""
    if delay is None or not 0 <= delay <= _LONGEST_DELAY:
        return None
    return int(delay * 1000)


def to_trailing_metadata(
    error: errors.MainstayError, *, request_id: str
) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata that goes with the error's status."""
    status = to_status(error, request_id=request_id)
    trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    delay = _milliseconds(error.retry_after)
    if error.transient and delay is not None:
        trailing.append((PUSHBACK_KEY, str(delay)))
    return tuple(trailing)


def translate(error: grpc.aio.AioRpcError | grpc.Call) -> errors.MainstayError:
    """Return the received error as the class that was raised at the other end.

    An error without our details, such as a refused connection or a proxy's answer, becomes the
    class that fits its status code.
    """
    details = _parse_details(error.trailing_metadata() or ())
    info = details.get("ErrorInfo")
    if isinstance(info, status_pb2.ErrorInfo) and info.domain == DOMAIN:
        return _rebuild(error, info, details)
    said = error.details() or ""
    message = f"{error.code().name}: {said or 'no details'}{handshakes.hint(said)}"
    if error.code() is grpc.StatusCode.UNAVAILABLE and (why := handshakes.tls_failure(said)):
        return errors.UnavailableError(f"{why} ({said})", reason=handshakes.TLS_FAILED)
    if "larger than max" in said:
        # grpcio's words, here or at the other end, for a message above its limit.
        size = {"request": "larger than a message may be (4 MiB); send less at once"}
        told = f"the request is {size['request']}: {said}"
        return errors.ValidationError(told, fields=size, reason="MESSAGE_TOO_LARGE")
    kind = _BY_CODE.get(error.code(), errors.UnknownError)
    return _construct(kind, message, None, {}, None, details)


def from_code(code: int, reason: str, message: str) -> errors.MainstayError:
    """Return an error that was told by its numbers, such as one part's of a batch."""
    by_number = {status.value[0]: kind for status, kind in _BY_CODE.items()}
    kind = _BY_REASON.get(reason) or by_number.get(code, errors.UnknownError)
    return _construct(kind, message, reason or None, {}, None, {})


def _rebuild(
    error: grpc.aio.AioRpcError | grpc.Call, info: status_pb2.ErrorInfo, details: dict[str, Message]
) -> errors.MainstayError:
    metadata = dict(info.metadata)
    fallback = _BY_CODE.get(error.code(), errors.UnknownError)
    kind = _BY_NAME.get(metadata.pop("kind", ""), fallback)
    retry = details.get("RetryInfo")
    retry_after = _seconds(retry.retry_delay) if isinstance(retry, status_pb2.RetryInfo) else None
    rebuilt = _construct(kind, error.details() or "", info.reason, metadata, retry_after, details)
    request = details.get("RequestInfo")
    if isinstance(request, status_pb2.RequestInfo):
        rebuilt.request_id = request.request_id
    return rebuilt


def _construct(
    kind: type[errors.MainstayError],
    message: str,
    reason: str | None,
    metadata: dict[str, str],
    retry_after: float | None,
    details: dict[str, Message],
) -> errors.MainstayError:
    if issubclass(kind, errors.ValidationError):
        return kind(
            message,
            fields=_fields(details.get("BadRequest")),
            reason=reason,
            metadata=metadata,
            retry_after=retry_after,
        )
    if issubclass(kind, errors.QuotaError):
        return kind(
            message,
            violations=_violations(details.get("QuotaFailure")),
            reason=reason,
            metadata=metadata,
            retry_after=retry_after,
        )
    if issubclass(kind, errors.NotFoundError | errors.AlreadyExistsError):
        resource = details.get("ResourceInfo")
        named = resource if isinstance(resource, status_pb2.ResourceInfo) else None
        return kind(
            message,
            resource_type=named.resource_type if named else "",
            resource_name=named.resource_name if named else "",
            reason=reason,
            metadata=metadata,
            retry_after=retry_after,
        )
    return kind(message, reason=reason, metadata=metadata, retry_after=retry_after)


def _fields(bad: Message | None) -> dict[str, str]:
    violations = bad.field_violations if isinstance(bad, status_pb2.BadRequest) else ()
    return {violation.field: violation.description for violation in violations}


def _violations(failure: Message | None) -> dict[str, str]:
    violations = failure.violations if isinstance(failure, status_pb2.QuotaFailure) else ()
    return {violation.subject: violation.description for violation in violations}


def _parse_details(trailing: Iterable[tuple[str, str | bytes]]) -> dict[str, Message]:
    raw = next((value for key, value in trailing if key == DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return {}
    try:
        status = status_pb2.Status.FromString(raw)
        return {
            name: kind.FromString(packed.value)
            for packed in status.details
            if (name := _type_name(packed)) and (kind := _DETAILS.get(name))
        }
    except DecodeError:
        return {}  # a proxy may send details of its own making; the status code still counts


def _type_name(packed: AnyMessage) -> str:
    return packed.type_url.removeprefix(_TYPE_PREFIX) if _TYPE_PREFIX in packed.type_url else ""


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
