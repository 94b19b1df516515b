"""Which calls are recorded: decided by the caller, else by the ratio; faults are kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from mainstay.errors import MainstayError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from shared.telemetry import tracing
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import PLANTED, Probe, probe_service
from tests.recorded_spans import attributes_of, context_of, recording_spans

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
WANTED = f"00-{TRACE_ID}-{CALLER}-01"
UNWANTED = f"00-{TRACE_ID}-{CALLER}-00"
GET = "/mainstay.cache.v1.CacheService/Get"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced() -> AsyncIterator[Probe]:
    """Run a service that has somewhere to send spans to."""
    async with probe_service(traced=True) as probe:
        yield probe


async def act(probe: Probe, what: str, argument: str = "", traceparent: str = "") -> None:
    """Have the service do something, as a caller that knows nothing of OpenTelemetry."""
    request = b"\x0a" + bytes([len(what)]) + what.encode()
    if argument:
        request += b"\x12" + bytes([len(argument)]) + argument.encode()
    headers = (("traceparent", traceparent),) if traceparent else ()
    await probe.raw(GET)(request, metadata=headers)


def servers(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """Return the spans of calls that were served."""
    return [one for one in spans.get_finished_spans() if one.kind is SpanKind.SERVER]


class TestTheRatio:
    async def test_decides_about_traces_that_begin_here(
        self, traced: Probe, log_lines: ReadLog
    ) -> None:
        """At 0 nothing is recorded; the call still has a trace, which its line names."""
        traced.acts.seen.clear()
        with recording_spans(ratio=0.0) as spans:
            await act(traced, "call")
        (seen,) = traced.acts.seen
        (line,) = [line for line in log_lines() if line["event"] == "call_finished"]

        assert [] == servers(spans)
        assert "-00" == seen["traceparent"][-3:]
        assert seen["traceparent"][3:35] == line["trace_id"]

    async def test_records_its_share(self, traced: Probe) -> None:
        """Half of 200 calls, give or take what chance never gives or takes."""
        with recording_spans(ratio=0.5) as spans:
            await asyncio.gather(*(act(traced, "none") for _ in range(200)))

        assert 50 < len(servers(spans)) < 150

    async def test_has_no_say_where_the_caller_has_decided(self, traced: Probe) -> None:
        """A trace is recorded throughout or not at all."""
        with recording_spans(ratio=0.0) as wanted:
            await act(traced, "none", traceparent=WANTED)
        with recording_spans(ratio=1.0) as unwanted:
            await act(traced, "none", traceparent=UNWANTED)

        assert (1, 0) == (len(servers(wanted)), len(servers(unwanted)))

    async def test_agrees_with_other_services(self) -> None:
        """By the rule of OpenTelemetry's own sampler, about each trace id."""
        sampler = TraceIdRatioBased(0.3)
        with recording_spans(ratio=0.3):
            begun = [tracing.begin("") for _ in range(500)]

        agreed = [
            sampler.should_sample(None, int(tracing.trace_id(one), 16), "x").decision
            is (Decision.RECORD_AND_SAMPLE if tracing.is_sampled(one) else Decision.DROP)
            for one in begun
        ]
        assert all(agreed)


class TestFaultsAreKept:
    async def test_of_a_trace_that_is_not_recorded(self, traced: Probe) -> None:
        """With the trace, the parent and the time of the call."""
        with recording_spans(ratio=0.0) as spans:
            with pytest.raises(Exception, match="INTERNAL"):
                await act(traced, "crash", traceparent=UNWANTED)
            (span,) = servers(spans)
        parent = span.parent
        assert parent is not None
        assert span.start_time is not None
        assert span.end_time is not None

        assert (TRACE_ID, CALLER) == (
            f"{context_of(span).trace_id:032x}",
            f"{parent.span_id:016x}",
        )
        assert 0 < span.end_time - span.start_time < 5_000_000_000
        assert StatusCode.ERROR is span.status.status_code

    async def test_with_the_exception_once_and_without_its_text(self, traced: Probe) -> None:
        """What was raised and where; its text may quote what the call was about."""
        with recording_spans() as spans:
            with pytest.raises(Exception, match="INTERNAL"):
                await act(traced, "crash")
            (span,) = servers(spans)
        (event,) = span.events

        assert "RuntimeError" == attributes_of(span)["error.type"]
        assert "exception" == event.name
        assert "RuntimeError" == (event.attributes or {})["exception.type"]
        assert "in perform" in str((event.attributes or {})["exception.stacktrace"])
        assert PLANTED not in span.to_json()

    async def test_also_of_the_kind_that_was_to_be_expected(self, traced: Probe) -> None:
        """A fault of ours that has a name is one; there is nothing to find out by its stack."""
        with recording_spans(ratio=0.0) as spans:
            with pytest.raises(Exception, match="UNAVAILABLE"):
                await act(traced, "raise", "UnavailableError")
            (span,) = servers(spans)

        assert ("UNAVAILABLE", ()) == (attributes_of(span)["error.type"], span.events)

    async def test_but_no_mistakes_of_callers(self, traced: Probe) -> None:
        """There are too many, and nothing of ours to mend."""
        with recording_spans(ratio=0.0) as spans, pytest.raises(Exception, match="NOT_FOUND"):
            await act(traced, "raise", "NotFoundError")

        assert [] == servers(spans)

    async def test_of_streams_too(self, traced: Probe) -> None:
        """A stream that fails midway."""
        asked = job_pb.WatchJobRequest(job_id="crash", after_revision=2)
        with recording_spans(ratio=0.0) as spans:
            call = traced.jobs.WatchJob(asked)
            with pytest.raises(Exception, match="INTERNAL"):
                _ = [state async for state in call]
            (span,) = servers(spans)

        assert ("RuntimeError", 1) == (attributes_of(span)["error.type"], len(span.events))

    async def test_in_a_storm_only_some(self, traced: Probe) -> None:
        """A service that fails at every call has enough to do."""
        with recording_spans(ratio=0.0) as spans:
            await asyncio.gather(
                *(act(traced, "raise", "UnavailableError") for _ in range(200)),
                return_exceptions=True,
            )

        # It may have taken a few seconds.
        assert 0 < len(servers(spans)) < 200


class TestSecrets:
    async def test_are_not_told_by_ids_that_callers_choose(self, traced: Probe) -> None:
        """What looks like one in a request id is masked, as in the log."""
        headers = (("x-request-id", "token=sk-live-4f7a9c21"), ("traceparent", WANTED))
        with recording_spans() as spans:
            await traced.raw(GET)(b"", metadata=headers)
        (span,) = servers(spans)

        assert "sk-live-4f7a9c21" not in span.to_json()

    async def test_are_not_told_by_errors_of_measured_work(self) -> None:
        """Type and stack, as those of calls: the text may be about anything."""
        with recording_spans() as spans:
            with pytest.raises(RuntimeError), tracing.span("sweep"):
                raise RuntimeError(PLANTED)
            (span,) = spans.get_finished_spans()
        (event,) = span.events

        assert PLANTED not in span.to_json()
        assert StatusCode.ERROR is span.status.status_code
        assert ("RuntimeError", "RuntimeError") == (
            attributes_of(span)["error.type"],
            (event.attributes or {})["exception.type"],
        )


class TestClientSpans:
    async def test_say_where_and_how_it_ended(self, traced: Probe) -> None:
        """The server's address and port, the method, the status and the request id."""
        with recording_spans() as spans:
            await traced.get("none")
            with pytest.raises(MainstayError):
                await traced.get("raise", "NotFoundError")
        fine, failed = clients(spans)
        host, _, port = traced.service.address.rpartition(":")

        expected = {
            "rpc.system.name": "grpc",
            "rpc.method": "mainstay.cache.v1.CacheService/Get",
            "server.address": host,
            "server.port": int(port),
        }
        told = attributes_of(fine)
        assert told.pop("request.id")
        assert {**expected, "rpc.response.status_code": "OK"} == told
        assert ("NOT_FOUND", "NOT_FOUND", StatusCode.ERROR, 0) == (
            attributes_of(failed)["rpc.response.status_code"],
            attributes_of(failed)["error.type"],
            failed.status.status_code,
            len(failed.events),
        )

    async def test_of_a_stream_last_as_long_as_it(self, traced: Probe) -> None:
        """And are nobody's current span while the stream is read."""
        asked = job_pb.WatchJobRequest(job_id="none", after_revision=2)
        during: list[tuple[int, bool]] = []
        with recording_spans() as spans:
            async for _ in traced.channel.server_stream(traced.jobs.WatchJob, asked):
                current = trace.get_current_span().get_span_context().is_valid
                during.append((len(clients(spans)), current))
            (client,) = clients(spans)
            (server,) = servers(spans)

        assert [(0, False)] * 3 == during
        assert server.parent is not None
        assert context_of(client).span_id == server.parent.span_id
        assert "OK" == attributes_of(client)["rpc.response.status_code"]

    async def test_of_a_stream_that_is_left(self, traced: Probe) -> None:
        """Whoever has read enough has made no error."""
        asked = job_pb.WatchJobRequest(job_id="hold", after_revision=2)
        with recording_spans() as spans:
            stream = traced.channel.server_stream(traced.jobs.WatchJob, asked)
            await anext(stream)
            await stream.aclose()
            async with asyncio.timeout(5):
                while not servers(spans):  # noqa: ASYNC110 - no event tells of a span
                    await asyncio.sleep(0.005)
            ends = [*clients(spans), *servers(spans)]

        assert ["CANCELLED"] * 2 == [attributes_of(one)["rpc.response.status_code"] for one in ends]
        assert [StatusCode.UNSET] * 2 == [one.status.status_code for one in ends]

    async def test_of_a_stream_that_fails(self, traced: Probe) -> None:
        """With the status that ended it."""
        asked = job_pb.WatchJobRequest(job_id="raise/UnavailableError", after_revision=1)
        with recording_spans() as spans:
            with pytest.raises(MainstayError):
                _ = [_ async for _ in traced.channel.server_stream(traced.jobs.WatchJob, asked)]
            (client,) = clients(spans)

        assert ("UNAVAILABLE", StatusCode.ERROR) == (
            attributes_of(client)["error.type"],
            client.status.status_code,
        )


def clients(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """Return the spans of calls that were made."""
    return [one for one in spans.get_finished_spans() if one.kind is SpanKind.CLIENT]
