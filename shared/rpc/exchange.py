"""One call on its way through the pipeline: what is opened before the method is closed after it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from opentelemetry import context as otel_context
from opentelemetry import trace
from prometheus_client import Counter, Histogram

from mainstay.context import RequestContext, set_current
from mainstay.errors import CancelledError, DeadlineError, UnavailableError, ValidationError
from mainstay.errors_wire import to_trailing_metadata, wire_message
from shared.rpc.admission import Admission
from shared.rpc.call import Call, Tenant, enter_call
from shared.rpc.metadata import REQUEST_ID, CallMetadata, check_size, check_tenant, read_metadata
from shared.rpc.outcome import CALLER_LEFT, Failure, failure_of
from shared.rpc.policy import MethodPolicy
from shared.telemetry import metrics, tracing
from shared.telemetry.sentry import report_unexpected

Context = grpc.aio.ServicerContext[Any, Any]

FIRST_MESSAGE_TIMEOUT = 10.0
"""Longest wait for the message of a call that has begun, in seconds."""

WRITE_TIMEOUT = 20.0
"""Longest wait for a slow reader to take one message of a stream, in seconds."""

STATUS_TIMEOUT = 1.0
"""Longest wait for the status of a failed call to leave, in seconds."""

_UNLIMITED = nullcontext()

log = structlog.get_logger()


class Parse(Protocol):
    """Turns bytes into a message."""

    def __call__(self, raw: bytes, /) -> Message:
        """Raise DecodeError when the bytes are not one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is the same for every call of a method."""

    name: str
    policy: MethodPolicy
    streaming: bool
    parse: Parse
    traced: bool
    seconds: Histogram
    successes: Counter


class Exchange:
    """The state of one call between its first byte and its status."""

    __slots__ = (
        "_admission",
        "_began",
        "_context",
        "_deadline",
        "_headers",
        "_holds_slot",
        "_limit",
        "_method",
        "_span",
        "_tenant",
    )

    def __init__(self, method: Method, admission: Admission, context: Context) -> None:
        self._began = time.perf_counter()
        self._method = method
        self._admission = admission
        self._context = context
        self._headers: CallMetadata = read_metadata(context.invocation_metadata())
        self._holds_slot = False
        self._limit: float | None = None
        self._deadline = float("inf")
        self._tenant = Tenant("")
        self._span: trace.Span | None = None

    async def read_first(self) -> bytes:
        """Return the one message of the request, or say that it did not come in time."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_TIMEOUT):
                raw: bytes = await self._context.read()
        except TimeoutError as error:
            raise DeadlineError(
                f"no message came within {FIRST_MESSAGE_TIMEOUT:g} s of the call's headers"
            ) from error
        return raw

    async def open(self) -> None:
        """Echo the request id, then admit the call or raise why not."""
        headers, method = self._headers, self._method
        traceparent = self._open_trace() if method.traced else headers.traceparent
        try:
            await self._context.send_initial_metadata(((REQUEST_ID, headers.request_id),))
        except grpc.aio.InternalError as error:
            raise CancelledError(CALLER_LEFT) from error
        self._open_deadline()
        check_size(headers.size)
        self._tenant = check_tenant(headers.tenant, wildcard=method.policy.wildcard_tenant)
        if method.policy.admission:
            self._admission.enter(streaming=method.streaming)
            self._holds_slot = True
        set_current(
            RequestContext(
                request_id=headers.request_id,
                tenant=self._tenant,
                traceparent=traceparent or None,
                tracestate=headers.tracestate or None,
            )
        )
        enter_call(
            Call(
                method=method.name,
                tenant=self._tenant,
                principal="anonymous",
                request_id=headers.request_id,
                traceparent=traceparent,
                deadline=self._deadline,
            )
        )

    def _open_trace(self) -> str:
        headers = self._headers
        # The task ends with the call, and its context with it: nothing has to be detached.
        parent = tracing.extract(headers.traceparent, headers.tracestate)
        self._span = tracing.start_server_span(
            self._method.name, parent, {"request.id": headers.request_id}
        )
        otel_context.attach(trace.set_span_in_context(self._span, parent))
        return tracing.current_traceparent()

    def _open_deadline(self) -> None:
        asked = self._context.time_remaining()
        granted = self._method.policy.deadline(asked)
        self._deadline = time.monotonic() + granted
        # grpcio itself ends a call at the deadline its caller set; only ours needs a timer.
        if (asked is None or granted < asked) and granted != float("inf"):
            self._limit = granted

    def parse(self, raw: Any) -> Message:
        """Return the request, or say that there is none or that the bytes are not one."""
        if raw is grpc.aio.EOF:
            raise ValidationError(
                f"{self._method.name} was called without a request; send one message",
                fields={"request": "one message of the expected type"},
            )
        try:
            return self._method.parse(raw)
        except DecodeError as error:
            raise ValidationError(
                f"the request of {self._method.name} cannot be parsed; "
                "use the published proto of this version",
                fields={"request": "not a valid protobuf message of the expected type"},
            ) from error

    def limited(self) -> AbstractAsyncContextManager[None]:
        """Run a block within the time the call has."""
        return _UNLIMITED if self._limit is None else self._timed(self._limit)

    @asynccontextmanager
    async def _timed(self, limit: float) -> AsyncIterator[None]:
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                yield
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise DeadlineError(
                f"{self._method.name} did not end within the {limit:g} s it may take"
            ) from error

    async def write(self, message: Message) -> None:
        """Send one message of a stream; a reader that takes none for long is cut off."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._context.write(message.SerializeToString())
        except grpc.aio.InternalError as error:
            raise CancelledError(CALLER_LEFT) from error
        except TimeoutError as error:
            raise UnavailableError(
                f"the caller read nothing for {WRITE_TIMEOUT:g} s; read faster or reconnect",
                reason="SLOW_READER",
            ) from error

    def succeed(self) -> None:
        """Record a call that ended well."""
        self._method.successes.inc()
        seconds = self._record("OK")
        emit = log.debug if self._method.policy.quiet else log.info
        emit(
            "call_finished",
            method=self._method.name,
            code="OK",
            duration_ms=_milliseconds(seconds),
        )

    async def fail(self, cause: BaseException) -> NoReturn:
        """Record the failure and tell the caller what it may know."""
        cancelled = _is_cancelled()
        failure = failure_of(cause, deadline=self._deadline, cancelled=cancelled)
        code, reason = failure.code.name, failure.error.reason
        metrics.calls.labels(self._method.name, code, reason).inc()
        self._log_failure(failure, self._record(code))
        if cancelled or self._context.done():
            raise asyncio.CancelledError from cause
        trailing = to_trailing_metadata(failure.error, request_id=self._headers.request_id)
        try:
            async with asyncio.timeout(STATUS_TIMEOUT):
                await self._context.abort(failure.code, wire_message(failure.error), trailing)
        except (TimeoutError, grpc.aio.InternalError):
            # It waits behind messages that the caller does not read, or there is no caller any
            # more; the slot does not wait. To grpcio this exception means: nothing more to say.
            raise asyncio.CancelledError from cause
        raise AssertionError("abort raises")

    def _log_failure(self, failure: Failure, seconds: float) -> None:
        fields = {
            "method": self._method.name,
            "code": failure.code.name,
            "reason": failure.error.reason,
            "duration_ms": _milliseconds(seconds),
            "request_id": self._headers.request_id,
        }
        if not failure.unexpected:
            log.info("call_finished", error=failure.error.message, **fields)
            return
        error_id = failure.error.metadata["error_id"]
        log.error("call_failed", error_id=error_id, exc_info=failure.cause, **fields)
        report_unexpected(
            failure.cause,
            method=self._method.name,
            request_id=self._headers.request_id,
            tenant=self._tenant,
            error_id=error_id,
        )

    def _record(self, code: str) -> float:
        """Note how long the call took and end its span; returns the seconds."""
        seconds = time.perf_counter() - self._began
        self._method.seconds.observe(seconds)
        if self._span is not None:
            tracing.end_server_span(self._span, code)
        return seconds

    def close(self) -> None:
        """Give back what the call held."""
        if self._holds_slot:
            self._admission.leave(streaming=self._method.streaming)
            self._holds_slot = False


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _is_cancelled() -> bool:
    """Return whether grpcio cancelled this task, because the caller left or the server stops."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
