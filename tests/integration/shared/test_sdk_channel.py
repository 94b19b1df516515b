"""What every call of the SDK has in common: a deadline, the request's headers, careful retries."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import grpc
import pytest

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import MAX_ATTEMPTS, Channel
from mainstay.context import current, new_request_id, request, use
from mainstay.errors import (
    CacheError,
    CancelledError,
    DeadlineError,
    MainstayError,
    NotFoundError,
    RateLimitError,
    UnavailableError,
    ValidationError,
)
from mainstay.errors_wire import to_trailing_metadata
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from tests.integration.shared.probe import Probe

SERVICE = "mainstay.cache.v1.CacheService"
REQUEST = pb.GetRequest(namespace="n", key="k")
Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[..., Awaitable[pb.GetResponse]]


class ScriptedServer:
    """A plain gRPC server that fails as often as its script says, and notes what it was sent."""

    def __init__(self, script: Sequence[MainstayError] = ()) -> None:
        self.script = list(script)
        self.headers: list[dict[str, str]] = []
        self.remaining: list[float | None] = []
        self.times: list[float] = []

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        self.times.append(time.monotonic())
        self.headers.append(
            {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        )
        self.remaining.append(context.time_remaining())
        if self.script:
            error = self.script.pop(0)
            trailing = to_trailing_metadata(error, request_id="")
            await context.abort(error.code, error.message, trailing)
        return pb.GetResponse()

    @asynccontextmanager
    async def listening(self, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """Serve within the block."""
        server = grpc.aio.server()
        get_alone = grpc.unary_unary_rpc_method_handler(
            self.Get,
            request_deserializer=pb.GetRequest.FromString,
            response_serializer=pb.GetResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Get": get_alone}),)
        )
        port = server.add_insecure_port(address)
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(None)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Call]:
        """Serve within the block and give what calls it."""
        async with self.listening() as address, Channel(address) as channel:
            yield partial(get, channel)


async def get(channel: Channel, **more: Any) -> pb.GetResponse:
    return await channel.unary(pb_grpc.CacheServiceStub(channel.raw).Get, REQUEST, **more)


class TestDeadline:
    @pytest.mark.parametrize(
        ("asked", "least", "most"), [(None, 4.0, 5.1), (2.0, 1.0, 2.1)], ids=["default", "own"]
    )
    async def test_is_always_set(self, asked: float | None, least: float, most: float) -> None:
        """The caller's, or the channel's (rounded up by grpcio): no call can hang for ever."""
        server = ScriptedServer()
        async with server.serving() as get:
            await get(timeout=asked)

        assert server.remaining[0] is not None
        assert least < server.remaining[0] <= most

    async def test_nobody_listens(self) -> None:
        """A refused connection is an UnavailableError, with the id the call would have had."""
        async with Channel("127.0.0.1:1", timeout=2.0) as channel:
            with request(request_id="req-7"), pytest.raises(UnavailableError) as caught:
                await get(channel)

        assert caught.value.request_id == "req-7"


class TestRetry:
    async def test_only_when_asked(self) -> None:
        """Without `retry` one attempt is all there is, however transient the error."""
        server = ScriptedServer([CacheError("gone")])
        async with server.serving() as get:
            with pytest.raises(CacheError):
                await get()

        assert len(server.times) == 1

    async def test_only_what_is_transient(self) -> None:
        """A mistake stays a mistake."""
        server = ScriptedServer([ValidationError("wrong", fields={})])
        async with server.serving() as get:
            with pytest.raises(ValidationError):
                await get(retry=True)

        assert len(server.times) == 1

    async def test_until_it_works(self) -> None:
        """Two failures and a success are a success, under one request id."""
        server = ScriptedServer([CacheError("gone"), UnavailableError("gone")])
        async with server.serving() as get:
            await get(retry=True)

        assert len(server.times) == 3
        assert len({headers["x-request-id"] for headers in server.headers}) == 1

    async def test_three_attempts_at_most(self) -> None:
        """The third failure is the caller's."""
        server = ScriptedServer([CacheError(f"failure {n}") for n in range(1, 9)])
        async with server.serving() as get:
            with pytest.raises(CacheError, match="failure 3"):
                await get(retry=True)

        assert len(server.times) == MAX_ATTEMPTS

    async def test_waits_as_long_as_it_was_told(self) -> None:
        """RetryInfo is the least pause; without it backoff grows."""
        server = ScriptedServer([RateLimitError("slow", retry_after=0.3), CacheError("gone")])
        async with server.serving() as get:
            await get(retry=True)
        first, second = [later - earlier for earlier, later in pairwise(server.times)]

        assert 0.3 <= first < 2.0
        assert 0.04 <= second < 2.0

    async def test_never_past_the_deadline(self) -> None:
        """A pause that would outlast the deadline is not begun: the error comes at once."""
        server = ScriptedServer([CacheError("gone", retry_after=30)])
        began = time.monotonic()
        async with server.serving() as get:
            with pytest.raises(CacheError):
                await get(timeout=10.0, retry=True)

        assert (len(server.times), time.monotonic() - began < 5) == (1, True)

    async def test_attempts_share_one_deadline(self) -> None:
        """A later attempt gets what is left, not another full timeout."""
        server = ScriptedServer([CacheError("gone", retry_after=0.2)])
        async with server.serving() as get:
            await get(timeout=1.0, retry=True)

        assert server.remaining[1] is not None
        assert server.remaining[1] <= 0.8

    async def test_a_deadline_is_not_retried(self, probe: Probe) -> None:
        """Its time is over."""
        with pytest.raises(DeadlineError):
            await probe.get("hold", timeout=0.1, retry=True)

        assert len(probe.acts.seen) == 1

    async def test_a_server_that_comes_back(self) -> None:
        """A service that restarts between attempts is found again."""
        server = ScriptedServer()
        async with server.listening() as address:
            pass
        async with Channel(address) as channel:
            with pytest.raises(UnavailableError):
                await get(channel)
            async with server.listening(address), asyncio.timeout(5):
                while not server.times:
                    with suppress(UnavailableError):
                        await get(channel, retry=True)

        assert len(server.times) == 1


class TestHeaders:
    async def test_come_from_the_current_request(self) -> None:
        """Id, tenant and trace of the request that is being worked on."""
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        server = ScriptedServer()
        async with server.serving() as get:
            with request(request_id="req-7", tenant="acme") as outer:
                context = replace(outer, traceparent=traceparent, tracestate="a=b")
            with use(context):
                await get()
        (sent,) = server.headers

        assert (sent["x-request-id"], sent["x-mainstay-tenant"]) == ("req-7", "acme")
        assert (sent["traceparent"][:36], sent["tracestate"]) == (traceparent[:36], "a=b")

    async def test_without_a_request_each_call_is_one(self) -> None:
        """Each call has a fresh id, and the tenant is left to the service."""
        server = ScriptedServer()
        async with server.serving() as get:
            await get()
            await get()
        first, second = server.headers

        assert first["x-request-id"] != second["x-request-id"]
        assert "x-mainstay-tenant" not in first

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("request_id", "naïve"),
            ("request_id", "a\nb"),
            ("tenant", "a\tb"),
            ("tenant", "\ud800"),
            ("tenant", "x\x00"),
        ],
    )
    async def test_what_no_header_can_hold(self, field: str, value: str) -> None:
        """It is named before anything is sent, as an error of the tree."""
        server = ScriptedServer()
        async with server.serving() as get:
            with request(**{field: value}), pytest.raises(ValidationError) as caught:
                await get(retry=True)

        assert len(caught.value.fields) == 1
        assert server.headers == []


class TestStreams:
    async def test_an_error_midway_is_of_the_tree(self, probe: Probe) -> None:
        """After what was delivered the iterator raises what the servicer raised."""
        asked = job_pb.WatchJobRequest(job_id="raise/NotFoundError", after_revision=2)
        stream = probe.channel.server_stream(probe.jobs.WatchJob, asked)
        delivered = [await anext(stream), await anext(stream)]
        with request(request_id="later"), pytest.raises(NotFoundError) as caught:
            await anext(stream)

        assert [state.job.revision for state in delivered] == [1, 2]
        assert (caught.value.resource_name, caught.value.request_id != "later") == ("job-7", True)


class TestClosing:
    async def test_ends_calls_in_flight(self, probe: Probe) -> None:
        """They end at once with an error of the tree; no task of the caller's is cancelled."""
        channel = Channel(probe.service.address)
        other = Probe(probe.service, probe.acts, channel)
        call = asyncio.create_task(other.get("hold"))
        async with asyncio.timeout(5):
            await probe.acts.entered.acquire()
            await channel.close()
            (ended,) = await asyncio.gather(call, return_exceptions=True)

        assert isinstance(ended, CancelledError)
        assert ended.request_id

    async def test_ends_streams(self, probe: Probe) -> None:
        """So do streams."""
        channel = Channel(probe.service.address)
        asked = job_pb.WatchJobRequest(job_id="hold", after_revision=1)
        stream = channel.server_stream(
            Probe(probe.service, probe.acts, channel).jobs.WatchJob, asked
        )
        await anext(stream)
        more = asyncio.create_task(anext(stream))
        async with asyncio.timeout(5):
            await probe.acts.entered.acquire()
            await channel.close()
            (ended,) = await asyncio.gather(more, return_exceptions=True)

        assert isinstance(ended, CancelledError)

    async def test_is_not_what_a_cancelled_caller_sees(self, probe: Probe) -> None:
        """Cancelling the caller's own task stays a cancellation."""
        call = asyncio.create_task(probe.get("hold"))
        async with asyncio.timeout(5):
            await probe.acts.entered.acquire()
            call.cancel()
            await asyncio.wait({call})

        assert call.cancelled()


class TestContext:
    def test_nests_and_is_left(self) -> None:
        """An inner request has its own id and the outer one's tenant, and ends with its block."""
        with request(request_id="outer", tenant="acme"):
            with request() as inner:
                assert (inner.tenant, inner.request_id != "outer") == ("acme", True)
            now = current()
            assert now is not None
            assert now.request_id == "outer"

        assert current() is None

    def test_ids_are_in_order_of_time(self) -> None:
        """Ids that were made later sort later, to the millisecond."""
        ids = []
        for _ in range(3):
            ids.append(new_request_id())
            until = time.time() + 0.002
            while time.time() < until:
                pass

        assert sorted(ids) == ids
