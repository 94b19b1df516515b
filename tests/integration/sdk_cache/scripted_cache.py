"""A cache service that says exactly what a test tells it to, over real gRPC.

For what the real service would have to be broken to do: break streams, lose leases, stay silent.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.errors import MainstayError, UnimplementedError
from mainstay.errors_wire import to_trailing_metadata

PATIENCE = 10.0
EPOCH = "epoch-1"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = Callable[[Any], Awaitable[Any]]


class ScriptedStream:
    """The service's end of one WatchInvalidations."""

    def __init__(self, request: pb.WatchInvalidationsRequest, context: Context) -> None:
        self.request = request
        self.tenant = tenant_of(context)
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        self.sequence = 0
        self._context = context

    async def send(
        self, *, epoch: str = EPOCH, sequence: int, previous: int | None = None, **event: Any
    ) -> None:
        """Send one message; `previous` is what the receiver knows unless the test says else."""
        known = self.sequence if previous is None else previous
        message = pb.WatchInvalidationsResponse(
            epoch=epoch, sequence=sequence, previous_sequence=known, **event
        )
        self.sequence = sequence
        await self._context.write(message)

    async def start(self, sequence: int = 0) -> None:
        """Say that the stream is up."""
        await self.send(sequence=sequence, previous=sequence, started=pb.Started())

    async def beat(self) -> None:
        """Say that nothing was missed."""
        await self.send(sequence=self.sequence, heartbeat=pb.Heartbeat())

    async def invalidate(self, sequence: int, **target: Any) -> None:
        """Tell of an invalidation."""
        change = pb.Invalidation(invalidate_time=stamp(), **target)
        await self.send(sequence=sequence, invalidation=change)


class ScriptedCache:
    """Answers every method as the test says, and remembers what was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.tenants: list[str] = []
        self.request_ids: list[str] = []
        self._handlers: dict[str, Handler] = {}
        self._changed = asyncio.Condition()
        self._streams: asyncio.Queue[ScriptedStream] = asyncio.Queue()

    def on(self, method: str, handler: Handler) -> None:
        """Answer a method so from now on."""
        self._handlers[method] = handler

    def answer(self, method: str, response: Any) -> None:
        """Answer a method always alike; an error is raised."""

        async def handler(_request: Any) -> Any:
            if isinstance(response, MainstayError):
                raise response
            return response

        self.on(method, handler)

    async def asked(self, method: str, times: int = 1) -> list[Any]:
        """Wait until a method was called so often and return the requests."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.requests[method]) >= times)
        return self.requests[method]

    async def accept(self) -> ScriptedStream:
        """Return the next stream that a client opens."""
        async with asyncio.timeout(PATIENCE):
            return await self._streams.get()

    async def dispatch(self, method: str, request: Any, context: Context) -> Any:
        """Answer one call."""
        self.tenants.append(tenant_of(context))
        self.request_ids.append(_header(context, "x-request-id"))
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

    async def WatchInvalidations(
        self, request: pb.WatchInvalidationsRequest, context: Context
    ) -> None:
        """Hand the stream to the test until one of the two ends it."""
        stream = ScriptedStream(request, context)
        self._streams.put_nowait(stream)
        try:
            await stream.ended.wait()
        finally:
            stream.gone.set()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the test ends the stream")


def _unary(method: str) -> Any:
    async def call(self: ScriptedCache, request: Any, context: Context) -> Any:
        return await self.dispatch(method, request, context)

    return call


for _method in pb.DESCRIPTOR.services_by_name["CacheService"].methods:
    if not _method.server_streaming:
        setattr(ScriptedCache, _method.name, _unary(_method.name))


def _header(context: Context, name: str) -> str:
    metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
    return metadata.get(name, "")


def tenant_of(context: Context) -> str:
    """Return the tenant that a call names."""
    return _header(context, "x-mainstay-tenant")


def stamp(ahead: timedelta = timedelta()) -> Timestamp:
    """Return a moment `ahead` of now."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + ahead)
    return moment


def entry(value: bytes, *, near: timedelta | None = None, **fields: Any) -> pb.Entry:
    """Return an entry that was written just now and lives for an hour."""
    message = pb.Entry(
        value=value,
        **{
            "version": 1,
            "create_time": stamp(),
            "expire_time": stamp(timedelta(hours=1)),
            **fields,
        },
    )
    if near is not None:
        message.near_max_age.FromTimedelta(near)
    return message


def lease(token: bytes = b"token-1", seconds: float = 10.0) -> pb.Lease:
    """Return a lease."""
    message = pb.Lease(token=token)
    message.duration.FromTimedelta(timedelta(seconds=seconds))
    return message


def leased(token: bytes = b"token-1", seconds: float = 10.0) -> pb.GetOrLeaseResponse:
    """Return a miss with a lease."""
    return pb.GetOrLeaseResponse(
        miss=pb.Miss(reason=pb.MISS_REASON_COLD), lease=lease(token, seconds)
    )


def hit(value: bytes, **fields: Any) -> pb.GetOrLeaseResponse:
    """Return a hit without a lease."""
    return pb.GetOrLeaseResponse(hit=entry(value, **fields))


STORED = pb.FillResponse(outcome=pb.FILL_OUTCOME_STORED, version=2)
LEASE_LOST = pb.FillResponse(outcome=pb.FILL_OUTCOME_LEASE_LOST)
INVALIDATED = pb.FillResponse(outcome=pb.FILL_OUTCOME_INVALIDATED)


@asynccontextmanager
async def scripted_cache() -> AsyncIterator[ScriptedCache]:
    """Serve on a free port within the block."""
    service = ScriptedCache()
    server = grpc.aio.server()
    # The methods were attached above, where no type checker sees them.
    servicer = cast("pb_grpc.CacheServiceServicer", service)
    pb_grpc.add_CacheServiceServicer_to_server(servicer, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
