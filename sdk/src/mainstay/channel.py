"""One connection to one service, and what every call over it has in common.

A deadline on each call, the request id, tenant and trace of the current request, typed errors, and
retries only where the caller says that repeating is safe.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from mainstay.connector import Connector
from mainstay.context import current, new_request_id
from mainstay.credentials import NO_CREDENTIALS, Credentials
from mainstay.errors import CancelledError, MainstayError, UnavailableError, ValidationError
from mainstay.errors_wire import translate
from mainstay.lazy_channel import LazyChannel
from mainstay.tracing import Header, client_span, stream_span, trace_headers

Req = TypeVar("Req")
Res = TypeVar("Res")

MAX_ATTEMPTS = 3
INITIAL_BACKOFF = 0.05
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Who is silent while calls wait is given up within 14 s, and another replica asked. Services
    # allow a ping every 10 s. The second bound is for gRPC's own pings, which measure bandwidth: as
    # long as one of them waits, for 60 s by default, no other is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    # A service that restarts is found again quickly.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries are decided here, where it is known whether repeating is safe.
    ("grpc.enable_retries", 0),
)


class Channel:
    """A lazily connecting channel to one service.

    `target` is `host:port`. `tenant` is used where the current request names none. `timeout` bounds
    every call that does not bring its own, in seconds. `credentials` say who calls, and whether
    over TLS; without them it is nobody, in plaintext.

    Raises ConfigurationError for files of certificates that cannot be used, and for a token that
    would leave this machine without TLS.
    """

    def __init__(
        self,
        target: str,
        *,
        tenant: str | None = None,
        timeout: float = 5.0,
        credentials: Credentials | None = None,
    ) -> None:
        self.target = target
        self.tenant = tenant
        self.timeout = timeout
        self._credentials = credentials or NO_CREDENTIALS
        self._connector = Connector(target, self._credentials, options=_OPTIONS)
        self.raw: grpc.aio.Channel = LazyChannel(self._connector)

    async def __aenter__(self) -> Self:
        """Return the channel itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
        retry: bool = False,
        unless: tuple[type[MainstayError], ...] = (),
    ) -> Res:
        """Call `method` and return its response.

        With `retry`, up to three attempts are made on transient errors, with backoff and jitter,
        never past the deadline and not before the delay the service asked for; those named in
        `unless` are not worth the wait. Raises the subclass of `MainstayError` that the service
        raised.
        """
        deadline = time.monotonic() + (timeout or self.timeout)
        request_id = self._request_id()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._attempt(method, request, deadline, request_id)
            except MainstayError as error:
                pause = _backoff(attempt, error.retry_after)
                last = attempt == MAX_ATTEMPTS or time.monotonic() + pause >= deadline
                if last or not (retry and error.transient) or isinstance(error, unless):
                    raise
                await asyncio.sleep(pause)
            except grpc.aio.UsageError as error:
                raise self._closed(request_id) from error
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Res],
        request: Req,
        deadline: float,
        request_id: str,
    ) -> Res:
        remaining = max(deadline - time.monotonic(), 0.001)
        with client_span(_name(method), self.target, current(), request_id) as traced:
            call = method(request, timeout=remaining, metadata=self._headers(request_id, traced))
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                raise _with_request(_translated(error), request_id) from error
            except asyncio.CancelledError:
                _raise_if_closed(request_id)
                raise

    async def server_stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it becomes the call's deadline
    ) -> AsyncGenerator[Res, None]:
        """Call `method` and yield its responses; closing the iterator cancels the call."""
        request_id = self._request_id()
        with stream_span(_name(method), self.target, current(), request_id) as traced:
            try:
                call = method(
                    request,
                    timeout=timeout or self.timeout,
                    metadata=self._headers(request_id, traced),
                )
            except grpc.aio.UsageError as error:
                raise self._closed(request_id) from error
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise _with_request(_translated(error), request_id) from error
            except asyncio.CancelledError:
                _raise_if_closed(request_id)
                raise
            finally:
                call.cancel()

    def metadata(self) -> tuple[Header, ...]:
        """Return the headers of a call made now, for streams that are driven by hand."""
        return self._headers(self._request_id(), trace_headers(current()))

    def open_blocking(self) -> grpc.Channel:
        """Return a connection of its own to the same service, for threads; the caller closes it.

        It has the certificates of now for as long as it lives, and `metadata` says who calls.
        """
        return self._connector.open_blocking()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self.raw.close()

    def _closed(self, request_id: str) -> MainstayError:
        """Return the error for what grpcio calls a wrong use: a call after the end."""
        error = UnavailableError(
            f"the connection to {self.target} was closed before the call; make another client, or "
            "close this one later"
        )
        return _with_request(error, request_id)

    @staticmethod
    def _request_id() -> str:
        context = current()
        return context.request_id if context else new_request_id()

    def _headers(self, request_id: str, traced: list[Header]) -> tuple[Header, ...]:
        context = current()
        headers = [("x-request-id", request_id), *traced]
        tenant = (context.tenant if context else None) or self.tenant
        if tenant:
            headers.append(("x-mainstay-tenant", tenant))
        for name, value in headers:
            if not (value.isascii() and value.isprintable()):
                raise ValidationError(
                    f"{name} {value[:40]!r} cannot be sent as a header",
                    fields={name: "printable ASCII characters"},
                )
        # After the loop, whose error quotes what it finds.
        if authorization := self._credentials.authorization():
            headers.append(("authorization", authorization))
        return tuple(headers)


def _name(method: object) -> str:
    """Return `package.Service/Method`; grpcio keeps it on the callable without a public name."""
    raw = cast("bytes | str", getattr(method, "_method", b""))
    return (raw.decode() if isinstance(raw, bytes) else raw).lstrip("/")


def _translated(error: grpc.aio.AioRpcError) -> MainstayError:
    """Return the error of a call; one that the other side gave up without a word may be repeated.

    Calls that have arrived and that nobody has looked at yet are cancelled by a service that ends,
    and by the transport of one where too many of them wait.
    """
    translated = translate(error)
    if isinstance(translated, CancelledError) and translated.reason == "CANCELLED":
        return UnavailableError("the service ended the call without an answer; try it again")
    return translated


def _with_request(error: MainstayError, request_id: str) -> MainstayError:
    error.request_id = error.request_id or request_id
    return error


def _raise_if_closed(request_id: str) -> None:
    """Name a cancellation that nobody asked for: the channel was closed under the call."""
    task = asyncio.current_task()
    if task is None or task.cancelling() == 0:
        error = CancelledError("the channel was closed during the call")
        raise _with_request(error, request_id) from None


def _backoff(attempt: int, asked: float | None) -> float:
    jittered = INITIAL_BACKOFF * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311
    return max(jittered, asked or 0.0)
