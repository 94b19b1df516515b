"""One trace through callers, services and what they call in turn; with and without spans."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mainstay.context import RequestContext, request, use
from mainstay.errors import MainstayError, error_types
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.telemetry.tracing import span
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service
from tests.recorded_spans import attributes_of, context_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOT_TRACED = f"00-{TRACE_ID}-{SPAN_ID}-00"
SERVER_FAULTS = {
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
}


def caller(traceparent: str, tracestate: str = "") -> RequestContext:
    return RequestContext(request_id="req-7", traceparent=traceparent, tracestate=tracestate)


class Spans:
    """What was exported since the test began."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, method: str, kind: SpanKind) -> list[ReadableSpan]:
        """Return the finished spans of a method."""
        found = self._exporter.get_finished_spans()
        return [one for one in found if one.name.endswith(method) and one.kind is kind]

    def server(self, method: str) -> ReadableSpan:
        """Return the one server span of a method."""
        (found,) = self.named(method, SpanKind.SERVER)
        return found


@pytest.fixture
def spans(recorded: InMemorySpanExporter) -> Spans:
    return Spans(recorded)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced() -> AsyncIterator[Probe]:
    async with probe_service(traced=True) as probe:
        yield probe


class TestWithoutSpans:
    """No exporter is set: the caller's trace passes through."""

    async def test_the_trace_reaches_the_call_and_what_it_calls(self, lasting_probe: Probe) -> None:
        """The same traceparent, three services deep."""
        lasting_probe.acts.seen.clear()
        with use(caller(TRACEPARENT)):
            await lasting_probe.get("onward", "onward/call")

        assert [TRACEPARENT[3:35]] * 3 == [
            call["traceparent"][3:35] for call in lasting_probe.acts.seen
        ]

    @pytest.mark.parametrize(
        "odd",
        [
            "garbage",
            "x" * 55,
            f"00-{'0' * 32}-{SPAN_ID}-01",
            f"00-{TRACE_ID}-{'0' * 16}-01",
            f"ff-{TRACE_ID}-{SPAN_ID}-01",
            TRACEPARENT.upper(),
            TRACEPARENT + "-more",
        ],
    )
    async def test_what_is_no_trace_is_dropped(self, lasting_probe: Probe, odd: str) -> None:
        """A header that breaks the W3C's form goes no further."""
        call = lasting_probe.raw("/mainstay.cache.v1.CacheService/BatchGet")
        lasting_probe.acts.seen.clear()
        await call(b"\x0a\x04call", metadata=(("traceparent", odd),))

        assert [call["traceparent"] for call in lasting_probe.acts.seen] == [""]

    async def test_the_log_has_the_trace(self, lasting_probe: Probe, log_lines: ReadLog) -> None:
        """A line of the call can be found by its trace."""
        with use(caller(TRACEPARENT)):
            await lasting_probe.get("none")

        (line,) = [line for line in log_lines() if line["event"] == "call_finished"]
        assert line["trace_id"] == TRACE_ID


class TestServerSpans:
    async def test_one_for_a_call(self, traced: Probe, spans: Spans) -> None:
        """A child of the client's span, in the caller's trace, with method, status and id."""
        with use(caller(TRACEPARENT)):
            call = await traced.call()
        server = spans.server("CacheService/Get")
        (client,) = spans.named("CacheService/Get", SpanKind.CLIENT)

        assert server.parent is not None
        assert context_of(client).span_id == server.parent.span_id
        assert f"{context_of(server).trace_id:032x}" == TRACE_ID
        assert client.parent is not None
        assert f"{client.parent.span_id:016x}" == SPAN_ID
        assert call["traceparent"] == f"00-{TRACE_ID}-{context_of(server).span_id:016x}-01"
        assert attributes_of(server) == {
            "rpc.system.name": "grpc",
            "rpc.method": "mainstay.cache.v1.CacheService/Get",
            "request.id": "req-7",
            "rpc.response.status_code": "OK",
        }

    async def test_a_trace_begins_here_without_one(self, traced: Probe, spans: Spans) -> None:
        """A call without trace context is the root of a new trace."""
        raw = traced.raw("/mainstay.cache.v1.CacheService/Get")
        await raw(b"")

        assert spans.server("CacheService/Get").parent is None

    async def test_a_caller_may_decline(self, traced: Probe, spans: Spans) -> None:
        """What the caller does not sample is not recorded, and the trace goes on unsampled."""
        with use(caller(NOT_TRACED)):
            call = await traced.call()

        assert not spans.named("CacheService/Get", SpanKind.SERVER)
        assert (call["traceparent"][:35], call["traceparent"][-3:]) == (NOT_TRACED[:35], "-00")

    async def test_tracestate_is_carried(self, traced: Probe, spans: Spans) -> None:
        """The companion header reaches the second service."""
        with use(caller(TRACEPARENT, "vendor=opaque")):
            await traced.get("onward", "call")

        states = {
            context_of(one).trace_state.get("vendor")
            for one in spans.named("CacheService/Get", SpanKind.SERVER)
        }
        assert states == {"opaque"}

    async def test_onward_calls_are_children(self, traced: Probe, spans: Spans) -> None:
        """Server → client → server, each the parent of the next."""
        with request(request_id="req-7"):
            await traced.get("onward", "none")
        clients = spans.named("CacheService/Get", SpanKind.CLIENT)
        servers = spans.named("CacheService/Get", SpanKind.SERVER)
        by_id = {context_of(one).span_id: one for one in (*clients, *servers)}
        deepest, _ = sorted(servers, key=lambda one: one.start_time or 0, reverse=True)
        chain = [deepest]
        while (parent := chain[-1].parent) is not None:
            chain.append(by_id[parent.span_id])

        kinds = [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CLIENT]
        assert kinds == [one.kind for one in chain]

    async def test_a_callers_own_span_is_the_parent(self, traced: Probe, spans: Spans) -> None:
        """With OpenTelemetry in the caller, its current span is where the call hangs."""
        with span("work") as outer:
            await traced.get("none")

        (client,) = spans.named("CacheService/Get", SpanKind.CLIENT)
        assert client.parent is not None
        assert outer.get_span_context().span_id == client.parent.span_id

    async def test_concurrent_calls_do_not_mix(self, traced: Probe, spans: Spans) -> None:
        """A span is current in its own call only."""

        async def one(trace_id: str) -> str:
            with use(caller(f"00-{trace_id}-{SPAN_ID}-01")):
                call = await traced.call()
            return str(call["traceparent"][3:35])

        sent = [f"{n:032x}" for n in range(1, 21)]

        assert sent == await asyncio.gather(*map(one, sent))


class TestStatus:
    @pytest.mark.parametrize("kind", error_types())
    async def test_only_faults_of_the_server_are_errors(
        self, traced: Probe, spans: Spans, kind: type[MainstayError]
    ) -> None:
        """A caller's mistake is no error of the server's span; its status says what it was."""
        with pytest.raises(MainstayError):
            await traced.get("raise", kind.__name__)
        server = spans.server("CacheService/Get")
        fault = kind.code.name in SERVER_FAULTS

        assert attributes_of(server)["rpc.response.status_code"] == kind.code.name
        assert server.status.status_code is (StatusCode.ERROR if fault else StatusCode.UNSET)
        assert "what happened" not in (server.to_json() or "")


class TestStreams:
    async def test_a_server_stream(self, traced: Probe, spans: Spans) -> None:
        """One span from the request to the last answer, current while the method runs."""
        asked = job_pb.WatchJobRequest(job_id="call", after_revision=3)
        with use(caller(TRACEPARENT)):
            states = [s async for s in traced.channel.server_stream(traced.jobs.WatchJob, asked)]
        server = spans.server("JobService/WatchJob")

        assert len(states) == 4
        assert f"{context_of(server).span_id:016x}" in states[-1].job.result_json
        assert f"{context_of(server).trace_id:032x}" == TRACE_ID

    async def test_a_session(self, traced: Probe, spans: Spans) -> None:
        """A bidirectional stream is one span too, under the span it was opened in."""
        asked = worker_pb.SessionRequest(hello=worker_pb.Hello(worker="call"))
        with use(caller(TRACEPARENT)):
            call = traced.workers.Session(iter([asked]), metadata=traced.channel.metadata())
            answers = [answer async for answer in call]
        server = spans.server("WorkerService/Session")

        assert f"{context_of(server).span_id:016x}".encode() in answers[0].welcome.session
        assert f"{context_of(server).trace_id:032x}" == TRACE_ID

    async def test_every_client_span_has_a_name(self, traced: Probe, spans: Spans) -> None:
        """Headers for a stream driven by hand leave no nameless span behind."""
        traced.channel.metadata()

        assert "" not in {one.name for one in spans._exporter.get_finished_spans()}

    async def test_health_is_quiet(self, traced: Probe, spans: Spans) -> None:
        """Probes come every second and are not traced."""
        raw = traced.raw("/grpc.health.v1.Health/Check")
        await raw(b"")

        assert not spans.named("Health/Check", SpanKind.SERVER)
