"""One request id per call: taken or made, echoed, and never anything that could hurt a log."""

import uuid
from collections.abc import AsyncIterable
from contextlib import suppress

import grpc
import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import request
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.faults.http2_peer import Http2Peer, framed
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = "/mainstay.cache.v1.CacheService/Get"
SENT = (("x-request-id", "req-7"),)


@pytest.fixture
def probe(lasting_probe: Probe) -> Probe:
    return lasting_probe


async def exhaust(answers: AsyncIterable[object]) -> None:
    """Read to the end, well or not."""
    with suppress(grpc.aio.AioRpcError):
        async for _ in answers:
            pass


def is_fresh(request_id: str) -> bool:
    """Whether it is a UUIDv7 in the form of RFC 9562."""
    return uuid.UUID(request_id).version == 7 and str(uuid.UUID(request_id)) == request_id


class TestTakingOne:
    @pytest.mark.parametrize("given", ["req-7", "x" * 128, "a/b:c=d;e+f{g}|h~!#$%&(*", "0"])
    async def test_a_fit_one_is_kept(self, probe: Probe, given: str) -> None:
        """What is printable ASCII of up to 128 characters arrives in the call as it is."""
        with request(request_id=given):
            call = await probe.call()

        assert given == call["request_id"]

    async def test_none_is_made_up(self, probe: Probe) -> None:
        """Without one the call gets a UUIDv7 of its own."""
        answer = probe.cache.Get(cache_pb.GetRequest(namespace="none"))
        await answer
        made = dict(await answer.trailing_metadata())["x-request-id"]

        assert is_fresh(str(made))

    @pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'a"b', "it's", "tab\there"])
    async def test_an_unfit_one_is_replaced(self, probe: Probe, given: str) -> None:
        """Too long, empty, with spaces or quotes: a new one instead, and the call goes on."""
        async with Http2Peer.connect(probe.service.address) as peer:
            answer = await peer.finished(
                await peer.call(GET, framed(b""), headers=[("x-request-id", given)])
            )

        assert (answer.status, is_fresh(answer.trailers["x-request-id"])) == ("0", True)

    @pytest.mark.parametrize("given", [b"caf\xc3\xa9", b"\xff\xfe", b"a\x7fb"])
    async def test_bytes_beyond_ascii_never_come_back(self, probe: Probe, given: bytes) -> None:
        """The transport or the pipeline drops them; the call is answered or refused cleanly."""
        async with Http2Peer.connect(probe.service.address) as peer:
            answer = await peer.finished(
                await peer.call(GET, framed(b""), headers=[(b"x-request-id", given)])
            )

        echoed = (answer.headers | answer.trailers).get("x-request-id")
        assert is_fresh(echoed) if echoed else answer.status != "0"

    async def test_each_call_gets_its_own(self, probe: Probe) -> None:
        """Two calls without an id are two requests, in the order of their ids."""
        first, second = [(await probe.call())["request_id"] for _ in range(2)]

        assert first != second
        assert uuid.UUID(first).int >> 80 <= uuid.UUID(second).int >> 80


class TestEchoingIt:
    """With the answer of a unary call, ahead of the messages of a stream, and with every error."""

    @pytest.mark.parametrize("act", ["none", "crash", "raise"])
    async def test_unary(self, probe: Probe, act: str) -> None:
        """With an answer and with an error."""
        call = probe.cache.Get(
            cache_pb.GetRequest(namespace=act, key="NotFoundError"), metadata=SENT
        )
        with suppress(grpc.aio.AioRpcError):
            await call

        assert dict(await call.trailing_metadata())["x-request-id"] == "req-7"

    @pytest.mark.parametrize("act", ["none", "crash"])
    async def test_server_stream(self, probe: Probe, act: str) -> None:
        """With answers and with an error."""
        call = probe.jobs.WatchJob(job_pb.WatchJobRequest(job_id=act), metadata=SENT)

        assert dict(await call.initial_metadata())["x-request-id"] == "req-7"
        await exhaust(call)

    @pytest.mark.parametrize("act", ["none", "crash"])
    async def test_session(self, probe: Probe, act: str) -> None:
        """With answers and with an error."""
        asked = worker_pb.SessionRequest(hello=worker_pb.Hello(worker=act))
        call = probe.workers.Session(iter([asked]), metadata=SENT)

        assert dict(await call.initial_metadata())["x-request-id"] == "req-7"
        await exhaust(call)

    @pytest.mark.parametrize(
        ("path", "body", "more"),
        [
            ("/no.such.Service/Get", b"", ()),
            (GET, b"\xff\xff\xff", ()),
            (GET, b"", (("x-mainstay-tenant", "not a tenant!"),)),
        ],
        ids=["unknown method", "broken request", "bad tenant"],
    )
    async def test_refused_calls(
        self, probe: Probe, path: str, body: bytes, more: tuple[tuple[str, str], ...]
    ) -> None:
        """What never reaches a servicer is echoed all the same."""
        call = probe.raw(path)(body, metadata=(*SENT, *more))

        assert dict(await call.trailing_metadata())["x-request-id"] == "req-7"
        assert await call.code() in {
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.INVALID_ARGUMENT,
        }


class TestCarryingItOn:
    async def test_into_calls_made_by_the_servicer(self, probe: Probe) -> None:
        """What a servicer calls while it handles a call has the same id and tenant."""
        probe.acts.seen.clear()
        with request(request_id="req-7", tenant="acme"):
            await probe.get("onward", "onward/call")

        assert [(call["request_id"], call["tenant"]) for call in probe.acts.seen] == [
            ("req-7", "acme")
        ] * 3

    async def test_into_the_log(self, probe: Probe, log_lines: ReadLog) -> None:
        """The line of the call has it."""
        with request(request_id="req-7"):
            await probe.get("none")

        (line,) = [line for line in log_lines() if line["event"] == "call_finished"]
        assert line["request_id"] == "req-7"
