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

from mainstay.context import set_current
from mainstay.errors import CancelledError, DeadlineError, UnavailableError, ValidationError
from mainstay.errors_wire import to_trailing_metadata, wire_message
from shared.rpc.admission import Admission
from shared.rpc.call import Call, Tenant, enter_call
from shared.rpc.metadata import REQUEST_ID, CallMetadata, check_size, check_tenant, read_metadata
from shared.rpc.outcome import CALLER_LEFT, Failure, failure_of
from shared.rpc.policy import MethodPolicy
from shared.telemetry import tracing
from shared.telemetry.call_lines import MethodLines, milliseconds
from shared.telemetry.call_metrics import SUCCESS, MethodTally, Outcome
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
    lasting: bool
    parse: Parse
    traced: bool
    tally: MethodTally
    lines: MethodLines


class Exchange:
    """The state of one call between its first byte and its status."""

    __slots__ = (
        "_admission",
        "_began",
        "_context",
        "_deadline",
        "_headers",
        "_holds_slot",
        "_method",
        "_span",
        "_tenant",
        "_traceparent",
        "limit",
    )

    def __init__(self, method: Method, admission: Admission, context: Context) -> None:
        self._began = time.monotonic()
        self._method = method
        self._admission = admission
        self._context = context
        # A tuple of pairs, whatever grpcio's annotation says.
        self._headers: CallMetadata = read_metadata(context.invocation_metadata())  # type: ignore[arg-type]
        self._holds_slot = False
        self.limit: float | None = None
        self._deadline = float("inf")
        self._tenant = Tenant("")
        self._traceparent = ""
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

    async def open_stream(self) -> None:
        """Echo the request id ahead of the first message, then admit the call or raise why not."""
        self._open_trace()
        try:
            await self._context.send_initial_metadata(((REQUEST_ID, self._headers.request_id),))
        except grpc.aio.InternalError as error:
            raise CancelledError(CALLER_LEFT) from error
        self._admit()

    def open_unary(self) -> None:
        """Have the request id echoed with the answer, then admit the call or raise why not."""
        self._open_trace()
        # Initial metadata would leave by itself, before the answer (docs/adr/0014).
        self._context.set_trailing_metadata(((REQUEST_ID, self._headers.request_id),))
        self._admit()

    def _admit(self) -> None:
        headers, method = self._headers, self._method
        self._open_deadline()
        check_size(headers.size)
        self._tenant = check_tenant(headers.tenant, wildcard=method.policy.wildcard_tenant)
        if method.policy.admission:
            self._admission.enter(lasting=method.lasting)
            self._holds_slot = True
        call = Call(
            method.name,
            self._tenant,
            "anonymous",
            headers.request_id,
            self._traceparent,
            self._deadline,
            headers.tracestate,
        )
        enter_call(call)
        set_current(call.request)

    def _open_trace(self) -> None:
        headers = self._headers
        self._traceparent = headers.traceparent
        if not self._method.traced:
            return
        # The task ends with the call, and its context with it: nothing has to be detached.
        parent = tracing.extract(headers.traceparent, headers.tracestate)
        self._span = tracing.start_server_span(
            self._method.name, parent, {"request.id": headers.request_id}
        )
        otel_context.attach(trace.set_span_in_context(self._span, parent))
        self._traceparent = tracing.current_traceparent()

    def _open_deadline(self) -> None:
        asked = self._context.time_remaining()
        granted = self._method.policy.deadline(asked)
        self._deadline = time.monotonic() + granted
        # grpcio itself ends a call at the deadline its caller set; only ours needs a timer.
        if (asked is None or granted < asked) and granted != float("inf"):
            self.limit = granted

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
        return _UNLIMITED if self.limit is None else self._timed(self.limit)

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
        seconds = self._record(SUCCESS)
        self._method.lines.call_finished(
            seconds, self._headers.request_id, self._tenant, self._traceparent
        )

    async def fail(self, cause: BaseException) -> NoReturn:
        """Record the failure and tell the caller what it may know."""
        cancelled = _is_cancelled()
        failure = failure_of(cause, deadline=self._deadline, cancelled=cancelled)
        self._log_failure(failure, self._record((failure.code.name, failure.error.reason)))
        if cancelled or self._context.done():
            raise asyncio.CancelledError from cause
        request_id = self._headers.request_id
        details = to_trailing_metadata(failure.error, request_id=request_id)
        trailing = (*details, (REQUEST_ID, request_id))
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
            "duration_ms": milliseconds(seconds),
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

    def _record(self, outcome: Outcome) -> float:
        """Count the call and end its span; returns the seconds it took."""
        seconds = time.monotonic() - self._began
        self._method.tally.count(seconds, outcome)
        if self._span is not None:
            tracing.end_server_span(self._span, outcome[0])
        return seconds

    def close(self) -> None:
        """Give back what the call held."""
        if self._holds_slot:
            self._admission.leave(lasting=self._method.lasting)
            self._holds_slot = False


def _is_cancelled() -> bool:
    """Return whether grpcio cancelled this task, because the caller left or the server stops."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
