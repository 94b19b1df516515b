"""The error boundary: what a servicer raises, a caller of the SDK catches, and nothing else."""

import re
from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import request
from mainstay.errors import (
    ConfigurationError,
    InternalError,
    MainstayError,
    UnimplementedError,
    ValidationError,
    error_types,
)
from mainstay.errors_wire import translate
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import PLANTED, Probe, probe_service
from tests.unit.sdk.example_errors import example

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = [kind for kind in error_types() if kind is not ConfigurationError]

Ask = Callable[[Probe, str], Awaitable[object]]


async def by_unary(probe: Probe, act: str) -> object:
    name, _, argument = act.partition("/")
    return await probe.get(name, argument)


async def by_stream(probe: Probe, act: str) -> object:
    asked = job_pb.WatchJobRequest(job_id=act, after_revision=2)
    return [state async for state in probe.channel.server_stream(probe.jobs.WatchJob, asked)]


async def by_session(probe: Probe, act: str) -> object:
    call = probe.workers.Session(metadata=probe.channel.metadata())
    await call.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker=act)))
    await call.done_writing()
    try:
        return [response async for response in call]
    except grpc.aio.AioRpcError as error:
        raise translate(error) from error


@pytest.fixture
def probe(lasting_probe: Probe) -> Probe:
    return lasting_probe


EVERY_WAY = pytest.mark.parametrize("ask", [by_unary, by_stream, by_session])


class TestNamedErrors:
    @EVERY_WAY
    @pytest.mark.parametrize("kind", NAMED)
    async def test_the_same_class_arrives(
        self, probe: Probe, ask: Ask, kind: type[MainstayError]
    ) -> None:
        """Class, message, reason, metadata, delay, fields and resource; and the request id."""
        sent = example(kind)
        with request(request_id="req-7"), pytest.raises(MainstayError) as caught:
            await ask(probe, f"raise/{kind.__name__}")

        assert type(caught.value) is kind
        assert vars(sent) | {"request_id": "req-7"} == vars(caught.value)

    @pytest.mark.parametrize("kind", NAMED)
    async def test_google_reads_it(self, probe: Probe, kind: type[MainstayError]) -> None:
        """A client in any language finds the status and its details where google put them."""
        asked = cache_pb.GetRequest(namespace="raise", key=kind.__name__)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.cache.Get(asked, metadata=(("x-request-id", "req-7"),))
        trailing = {str(key): value for key, value in caught.value.trailing_metadata()}
        status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
        info, requested = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
        status.details[0].Unpack(info)
        status.details[1].Unpack(requested)

        assert (kind.code, "what happened") == (caught.value.code(), caught.value.details())
        assert (kind.code.value[0], "what happened") == (status.code, status.message)
        assert (info.reason, info.domain) == ("EXAMPLE_REASON", "mainstay")
        assert requested.request_id == "req-7"

    async def test_a_message_without_end(self, probe: Probe) -> None:
        """A long text is cut, not sent in full: peers drop calls whose metadata is too large."""
        with pytest.raises(UnimplementedError) as caught:
            await probe.channel.unary(probe.raw(f"/none/{'x' * 3_000}"), b"")

        assert len(caught.value.message) <= 800


class TestUnexpectedErrors:
    @EVERY_WAY
    @pytest.mark.parametrize(
        ("act", "text"),
        [("crash", PLANTED), ("raise/ConfigurationError", "what happened")],
        ids=["unnamed", "configuration"],
    )
    async def test_nothing_of_it_leaks(
        self, probe: Probe, log_lines: ReadLog, ask: Ask, act: str, text: str
    ) -> None:
        """The caller gets an error id; the text and the stack stay in the log, under that id."""
        with pytest.raises(InternalError) as caught:
            await ask(probe, act)
        error_id = caught.value.metadata["error_id"]
        (line,) = [line for line in log_lines() if line.get("error_id") == error_id]

        assert re.fullmatch(r"[0-9a-f]{12}", error_id)
        assert text not in repr(vars(caught.value))
        assert "Traceback" not in caught.value.message
        assert (line["level"], line["event"], line["code"]) == ("error", "call_failed", "INTERNAL")
        assert text in line["exception"]

    async def test_the_raw_answer_is_clean(self, probe: Probe) -> None:
        """Not one byte of the text travels in status, headers or trailers."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.cache.Get(cache_pb.GetRequest(namespace="crash"))

        assert "hunter2" not in f"{caught.value!r} {caught.value.trailing_metadata()!r}"

    @EVERY_WAY
    async def test_a_cancellation_from_within(self, probe: Probe, ask: Ask) -> None:
        """A servicer that awaits something cancelled answers at once; the caller did not leave."""
        with pytest.raises(MainstayError) as caught:
            await ask(probe, "cancel-itself")

        assert type(caught.value) is InternalError


class TestRequestsThatDoNotParse:
    @pytest.mark.parametrize(
        ("method", "kind"),
        [
            ("/mainstay.cache.v1.CacheService/Get", "unary_unary"),
            ("/mainstay.jobs.v1.JobService/WatchJob", "unary_stream"),
            ("/mainstay.jobs.v1.WorkerService/Session", "stream_stream"),
        ],
    )
    async def test_get_a_named_error(self, probe: Probe, method: str, kind: str) -> None:
        """Bytes that are no message are the caller's mistake, and it is told so."""
        raw = probe.raw(method, kind)
        junk = b"\xff\xff\xff"
        call = raw(iter([junk]) if kind == "stream_stream" else junk)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call if kind == "unary_unary" else anext(aiter(call)))
        error = translate(caught.value)

        assert isinstance(error, ValidationError)
        assert "request" in error.fields


class TestUnknownMethods:
    @pytest.mark.parametrize(
        "path",
        ["/mainstay.cache.v1.CacheService/Nope", "/no.such.Service/Get", "/", "/a", "/a/b/c"],
    )
    async def test_are_named(self, probe: Probe, path: str) -> None:
        """The answer says which method does not exist."""
        with request(request_id="req-7"), pytest.raises(UnimplementedError) as caught:
            await probe.channel.unary(probe.raw(path), b"")

        assert path in caught.value.message
        assert caught.value.request_id == "req-7"

    async def test_are_unavailable_on_an_instance_that_is_not_serving(self) -> None:
        """By default AWS's ALB takes UNIMPLEMENTED for health, and this path for the question."""
        path = "/AWS.ALB/healthcheck"
        found = []
        async with probe_service() as probe:  # of its own: it does not serve afterwards
            for serving in (True, False):
                probe.service._rpc.health.set_serving(serving=serving)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await probe.raw(path)(b"")
                found.append(caught.value.code())

        assert [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE] == found
