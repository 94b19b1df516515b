"""One call on its way through the pipeline: what is opened before the method is closed after it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from math import inf
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from mainstay.context import set_current
from mainstay.errors import (
    AuthenticationError,
    AuthorizationError,
    CancelledError,
    DeadlineError,
    MainstayError,
    UnavailableError,
    ValidationError,
)
from mainstay.errors_wire import to_trailing_metadata, wire_message
from shared.identity import refusals
from shared.identity.principal import STRANGER
from shared.identity.scopes import OPEN
from shared.rpc.admission import Admission
from shared.rpc.call import Call, Tenant, enter_call
from shared.rpc.call_record import CallRecord
from shared.rpc.field_bounds import ORDINARY
from shared.rpc.gate import Gate, check_operator, check_scope, tenant_of
from shared.rpc.metadata import REQUEST_ID, check_size
from shared.rpc.method import Method
from shared.rpc.outcome import CALLER_LEFT, failure_of

Context = grpc.aio.ServicerContext[Any, Any]

FIRST_MESSAGE_TIMEOUT = 10.0
"""Longest wait for the message of a call that has begun, in seconds."""

WRITE_TIMEOUT = 20.0
"""Longest wait for a slow reader to take one message of a stream, in seconds."""

STATUS_TIMEOUT = 1.0
"""Longest wait for the status of a failed call to leave, in seconds."""

_UNLIMITED = nullcontext()
# Also UNAVAILABLE: who was known and is not found now may have been revoked.
_NO_LONGER = (AuthenticationError, AuthorizationError, UnavailableError)


class Exchange:
    """The state of one call between its first byte and its status."""

    __slots__ = (
        "_admission",
        "_context",
        "_deadline",
        "_gate",
        "_holds_slot",
        "_method",
        "_refusal",
        "_task",
        "limit",
        "record",
    )

    def __init__(self, method: Method, gate: Gate, admission: Admission, context: Context) -> None:
        self._method = method
        self._gate = gate
        self._admission = admission
        self._context = context
        # A tuple of pairs, whatever grpcio's annotation says.
        self.record = CallRecord(method, context.invocation_metadata())  # type: ignore[arg-type]
        self._holds_slot = False
        self.limit: float | None = None
        self._deadline = inf
        self._refusal: MainstayError | None = None
        self._task: asyncio.Task[None] | None = None

    def recognize(self) -> bool:
        """Return whether the caller is known without waiting; raises for one who is nobody."""
        check_size(self.record.headers.size)
        if self._method.scope == OPEN:
            self.record.principal = STRANGER
            return True
        principal = self._gate.known(self.record.headers.authorization, self._context)
        if principal is None:
            return False
        self.record.principal = principal
        return True

    async def identify(self) -> None:
        """Look the caller up; raises for one who is nobody."""
        authorization = self.record.headers.authorization
        self.record.principal = await self._gate.find(authorization, self._context)

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
        try:
            await self._context.send_initial_metadata(
                ((REQUEST_ID, self.record.headers.request_id),)
            )
        except grpc.aio.InternalError as error:
            raise CancelledError(CALLER_LEFT) from error
        self._admit()

    def open_unary(self) -> None:
        """Have the request id echoed with the answer, then admit the call or raise why not."""
        # Initial metadata would leave by itself, before the answer (docs/adr/0014).
        self._context.set_trailing_metadata(((REQUEST_ID, self.record.headers.request_id),))
        self._admit()

    def _admit(self) -> None:
        record, method = self.record, self._method
        headers = record.headers
        self._open_deadline()
        record.tenant = tenant = self._tenant()
        self._check_rights()
        if method.policy.admission:
            self._admission.enter(lasting=method.lasting)
            self._holds_slot = True
        if method.lasting:
            self._task = asyncio.current_task()
        call = Call(
            method.name,
            tenant,
            record.principal.name,
            headers.request_id,
            record.traceparent,
            self._deadline,
            headers.tracestate,
        )
        enter_call(call)
        set_current(call.request)

    def _tenant(self) -> Tenant:
        record = self.record
        wildcard = self._method.policy.wildcard_tenant
        return tenant_of(record.headers.tenant, record.principal.tenant, wildcard=wildcard)

    def _check_rights(self) -> None:
        principal, method = self.record.principal, self._method
        check_scope(principal, method.scope, method.name)
        if method.policy.operators:
            check_operator(principal, method.name)

    def _open_deadline(self) -> None:
        asked = self._context.time_remaining()
        granted = self._method.policy.deadline(asked)
        self._deadline = time.monotonic() + granted
        # grpcio itself ends a call at the deadline its caller set; only ours needs a timer.
        if (asked is None or granted < asked) and granted != inf:
            self.limit = granted

    def parse(self, raw: Any) -> Message:
        """Return the request, or say that there is none or that the bytes are not one."""
        if raw is grpc.aio.EOF:
            raise ValidationError(
                f"{self._method.name} was called without a request; send one message",
                fields={"request": "one message of the expected type"},
            )
        try:
            message = self._method.parse(raw)
        except DecodeError as error:
            raise ValidationError(
                f"the request of {self._method.name} cannot be parsed; "
                "use the published proto of this version",
                fields={"request": "not a valid protobuf message of the expected type"},
            ) from error
        if len(raw) > ORDINARY:
            self._method.bounds.check(message)
        return message

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

    async def fail(self, cause: BaseException) -> NoReturn:
        """Tell of the failure, and the caller what it may know."""
        task, self._task = self._task, None  # from here on nobody else ends it
        if self._refusal is not None and task is not None:
            cause = self._refusal
            task.uncancel()
        cancelled = _is_cancelled()
        failure = failure_of(cause, deadline=self._end_of_time(), cancelled=cancelled)
        self.record.fail(failure)
        if cancelled or self._context.done():
            raise asyncio.CancelledError from cause
        request_id = self.record.headers.request_id
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

    def recheck(self) -> bool:
        """End a call that lasts if its caller may make it no longer; False if that is not known."""
        try:
            if not self.recognize():
                return False
            self._check_still()
        except _NO_LONGER as error:
            self._end(error)
        return True

    async def recheck_slowly(self) -> None:
        """Do the same after looking the caller up; who is not found now is known no longer."""
        try:
            await self.identify()
            self._check_still()
        except _NO_LONGER as error:
            self._end(error)

    def _check_still(self) -> None:
        self._check_rights()
        if self._tenant() != self.record.tenant:
            raise refusals.invalid()

    def _end(self, refusal: MainstayError) -> None:
        if self._task is not None and self._refusal is None:
            self._refusal = refusal
            self._task.cancel()

    def _end_of_time(self) -> float:
        """Return the deadline, also of a call that ends before it was admitted."""
        remaining = self._context.time_remaining() if self._deadline == inf else None
        return self._deadline if remaining is None else time.monotonic() + remaining

    def close(self) -> None:
        """Give back what the call held."""
        self._task = None
        if self._holds_slot:
            self._admission.leave(lasting=self._method.lasting)
            self._holds_slot = False


def _is_cancelled() -> bool:
    """Return whether grpcio cancelled this task, because the caller left or the server stops."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
