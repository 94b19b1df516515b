"""A rate limit service that says exactly what a test tells it to, over real gRPC.

For what the real service would have to be broken to do: lose leases, stay silent, answer late.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import MainstayError, UnimplementedError
from mainstay.errors_wire import to_trailing_metadata
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

PATIENCE = 10.0

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = Callable[[Any], Awaitable[Any]]


class ScriptedLimits:
    """Answers every method as the test says, and remembers what was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.tenants: list[str] = []
        self._handlers: dict[str, Handler] = {}
        self._changed = asyncio.Condition()

    def on(self, method: str, handler: Handler) -> None:
        """Answer a method so from now on."""
        self._handlers[method] = handler

    def answer(self, method: str, *responses: Any) -> None:
        """Answer with one after the other, and with the last one for ever; errors are raised."""
        left = list(responses)

        async def handler(_request: Any) -> Any:
            response = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(response, MainstayError):
                raise response
            return response

        self.on(method, handler)

    def holding(self, method: str, response: Any) -> asyncio.Event:
        """Answer a method only once the event that is returned is set."""
        released = asyncio.Event()

        async def handler(_request: Any) -> Any:
            await released.wait()
            return response

        self.on(method, handler)
        return released

    async def asked(self, method: str, times: int = 1) -> list[Any]:
        """Wait until a method was called so often and return the requests."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.requests[method]) >= times)
        return self.requests[method]

    async def dispatch(self, method: str, request: Any, context: Context) -> Any:
        """Answer one call."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        self.tenants.append(metadata.get("x-mainstay-tenant", ""))
        async with self._changed:
            self.requests[method].append(request)
            self._changed.notify_all()
        try:
            if method not in self._handlers:
                raise UnimplementedError(f"this test does not expect {method}")
            return await self._handlers[method](request)
        except MainstayError as error:
            trailing = to_trailing_metadata(error, request_id="scripted")
            await context.abort(error.code, error.message, trailing)


def _unary(method: str) -> Any:
    async def call(self: ScriptedLimits, request: Any, context: Context) -> Any:
        return await self.dispatch(method, request, context)

    return call


for _method in pb.DESCRIPTOR.services_by_name["RateLimitService"].methods:
    setattr(ScriptedLimits, _method.name, _unary(_method.name))


def stamp(ahead: timedelta = timedelta()) -> Timestamp:
    """Return a moment `ahead` of now."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + ahead)
    return moment


def lasting(seconds: float) -> Duration:
    """Return a length of time."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def allowed(**fields: Any) -> pb.Decision:
    """Return a permission."""
    return pb.Decision(outcome=pb.OUTCOME_ALLOWED, rule="chat", **fields)


def denied(seconds: float | None = 30.0, **fields: Any) -> pb.Decision:
    """Return a denial that passes after a while; with None, never."""
    decision = pb.Decision(
        outcome=pb.OUTCOME_DENIED,
        **{"rule": "chat", "reason": pb.DENIAL_REASON_LIMIT, **fields},
    )
    decision.limit.limit = 3
    if seconds is not None:
        decision.retry_after.CopyFrom(lasting(seconds))
    return decision


def degraded() -> pb.Decision:
    """Return a permission that was given without the counters."""
    return allowed(degraded=True, failure_mode=pb.FAILURE_MODE_OPEN)


def share(amount: int, token: str = "share-1", seconds: float = 60.0) -> pb.ReserveTokensResponse:
    """Return a share of a limit."""
    return pb.ReserveTokensResponse(
        decision=allowed(),
        reservation=pb.TokenReservation(
            token=token,
            amount=amount,
            expire_time=stamp(timedelta(seconds=seconds)),
            ttl=lasting(seconds),
        ),
    )


def lease(token: str = "lease-1", seconds: float = 60.0) -> pb.Lease:
    """Return a lease."""
    return pb.Lease(
        token=token, expire_time=stamp(timedelta(seconds=seconds)), ttl=lasting(seconds)
    )


def place(token: str = "lease-1", seconds: float = 60.0) -> pb.AcquireLeaseResponse:
    """Return a place."""
    return pb.AcquireLeaseResponse(decision=allowed(), lease=lease(token, seconds))


@asynccontextmanager
async def scripted_limits() -> AsyncIterator[ScriptedLimits]:
    """Serve on a free port within the block."""
    service = ScriptedLimits()
    server = grpc.aio.server()
    # The methods were attached above, where no type checker sees them.
    servicer = cast("pb_grpc.RateLimitServiceServicer", service)
    pb_grpc.add_RateLimitServiceServicer_to_server(servicer, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
