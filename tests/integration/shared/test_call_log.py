"""The one line that every call leaves."""

import asyncio

import grpc
import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import request
from mainstay.errors import MainstayError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.rpc import exchange
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = "mainstay.cache.v1.CacheService/Get"
WATCH = "/mainstay.jobs.v1.JobService/WatchJob"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01")


@pytest.fixture
def probe(lasting_probe: Probe) -> Probe:
    return lasting_probe


def calls(read: ReadLog) -> list[dict[str, object]]:
    """Return the lines of calls, without what differs from run to run."""
    lines = [line for line in read() if line["event"] in {"call_finished", "call_failed"}]
    for line in lines:
        assert line.pop("duration_ms") >= 0
        line.pop("timestamp")
        line.pop("trace_id", None)  # there is one when other tests of this run collect spans
    return lines


class TestACall:
    async def test_that_ends_well(self, probe: Probe, log_lines: ReadLog) -> None:
        """Method, code, duration, request and tenant."""
        with request(request_id="req-7", tenant="acme"):
            await probe.get("none")

        assert calls(log_lines) == [
            {
                "event": "call_finished",
                "level": "info",
                "service": "probe",
                "environment": "development",
                "method": GET,
                "code": "OK",
                "request_id": "req-7",
                "tenant": "acme",
            }
        ]

    async def test_that_is_refused(self, probe: Probe, log_lines: ReadLog) -> None:
        """With the reason and the message; a caller's mistake is no error of ours."""
        with request(request_id="req-7", tenant="acme"), pytest.raises(MainstayError):
            await probe.get("raise", "NotFoundError")
        (line,) = calls(log_lines)

        assert (line["level"], line["code"], line["reason"], line["error"]) == (
            "info",
            "NOT_FOUND",
            "EXAMPLE_REASON",
            "what happened",
        )
        assert (line["request_id"], line["tenant"]) == ("req-7", "acme")

    async def test_that_crashes(self, probe: Probe, log_lines: ReadLog) -> None:
        """An error, with the stack and the id that the caller was given."""
        with request(request_id="req-7", tenant="acme"), pytest.raises(MainstayError) as caught:
            await probe.get("crash")
        (line,) = calls(log_lines)

        assert (line["event"], line["level"], line["code"]) == ("call_failed", "error", "INTERNAL")
        assert line["error_id"] == caught.value.metadata["error_id"]
        assert (line["request_id"], line["tenant"]) == ("req-7", "acme")
        assert "probe.py" in str(line["exception"])

    async def test_before_it_has_a_tenant(self, probe: Probe, log_lines: ReadLog) -> None:
        """A call that was refused at the door can be found by its id."""
        with request(request_id="req-7", tenant="no tenant"), pytest.raises(MainstayError):
            await probe.get("none")
        (line,) = calls(log_lines)

        assert (line["request_id"], line["code"]) == ("req-7", "INVALID_ARGUMENT")

    async def test_that_is_shed(self, log_lines: ReadLog) -> None:
        """Whose it was and in which trace, though the call never began."""
        async with probe_service(max_concurrent_calls=1) as full:
            held = asyncio.create_task(full.get("hold"))
            await full.acts.entered.acquire()
            with pytest.raises(grpc.aio.AioRpcError):
                await full.cache.Get(
                    cache_pb.GetRequest(), metadata=(TRACED, ("x-mainstay-tenant", "acme"))
                )
            (line,) = [line for line in log_lines() if line.get("reason") == "OVERLOADED"]
            full.acts.release.set()
            await held

        assert ("acme", TRACE_ID) == (line["tenant"], line["trace_id"])

    async def test_whose_message_does_not_come(
        self, probe: Probe, log_lines: ReadLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is found by its trace, too."""
        monkeypatch.setattr(exchange, "FIRST_MESSAGE_TIMEOUT", 0.05)
        with pytest.raises(grpc.aio.AioRpcError):
            await probe.raw(WATCH, "stream_stream")(metadata=(TRACED,)).read()
        (line,) = [line for line in log_lines() if line["event"] == "call_finished"]

        assert ("DEADLINE_EXCEEDED", TRACE_ID) == (line["code"], line["trace_id"])

    async def test_whose_time_is_over_before_it_has_begun(
        self, probe: Probe, log_lines: ReadLog
    ) -> None:
        """Its caller had set a deadline, and did not go away."""
        with pytest.raises(grpc.aio.AioRpcError):
            await probe.raw(WATCH, "stream_stream")(timeout=0.1).read()
        async with asyncio.timeout(5):
            while not (found := calls(log_lines)):  # noqa: ASYNC110 - no event tells of a line
                await asyncio.sleep(0.005)

        assert ["DEADLINE_EXCEEDED"] == [line["code"] for line in found]

    async def test_of_a_quiet_method(self, probe: Probe, log_lines: ReadLog) -> None:
        """At debug level only."""
        await probe.channel.unary(probe.cache.BatchGet, cache_pb.BatchGetRequest())

        assert [line["level"] for line in calls(log_lines)] == ["debug"]

    async def test_of_a_method_that_does_not_exist(self, probe: Probe, log_lines: ReadLog) -> None:
        """One line for it too, under one name, so that nobody can invent metrics."""
        with pytest.raises(MainstayError):
            await probe.channel.unary(probe.raw("/no.such.Service/Get"), b"")
        (line,) = calls(log_lines)

        assert (line["method"], line["code"]) == ("/unknown", "UNIMPLEMENTED")

    async def test_that_streams(self, probe: Probe, log_lines: ReadLog) -> None:
        """One line at its end, however many messages there were."""
        asked = job_pb.WatchJobRequest(job_id="none", after_revision=5)
        session = worker_pb.SessionRequest(hello=worker_pb.Hello(worker="none"))
        with request(request_id="req-7"):
            async for _ in probe.channel.server_stream(probe.jobs.WatchJob, asked):
                pass
            async for _ in probe.workers.Session(
                iter([session] * 3), metadata=probe.channel.metadata()
            ):
                pass

        assert [
            (line["method"], line["code"], line["request_id"]) for line in calls(log_lines)
        ] == [
            ("mainstay.jobs.v1.JobService/WatchJob", "OK", "req-7"),
            ("mainstay.jobs.v1.WorkerService/Session", "OK", "req-7"),
        ]

    async def test_many_at_once(self, probe: Probe, log_lines: ReadLog) -> None:
        """Each has its own id, tenant and line."""

        async def one(number: int) -> None:
            with request(request_id=f"req-{number}", tenant=f"t-{number}"):
                await probe.get("none")

        await asyncio.gather(*map(one, range(50)))

        pairs = [(line["request_id"], line["tenant"]) for line in calls(log_lines)]
        assert sorted(pairs) == sorted((f"req-{n}", f"t-{n}") for n in range(50))
