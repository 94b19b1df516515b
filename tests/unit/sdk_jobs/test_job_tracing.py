"""One trace from the call that sent an event to the calls that its job makes."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mainstay import tracing as call_tracing
from mainstay.channel import Channel
from mainstay.jobs import JobContext, tracing
from mainstay.jobs.execution import Execution
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.registry import Registry
from tests.unit.sdk_jobs.recorded_reports import (
    RecordedReports,
    SentEvents,
    assigned_job,
    step_calls,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SENDER_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SENDER_ID}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Record spans in memory, without touching the provider of the process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (tracing, call_tracing):
        monkeypatch.setattr(module, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def execute(handler: Handler, *, traceparent: str = TRACEPARENT) -> None:
    """Run a handler on a job of the trace."""
    registry = Registry()
    registry.add(
        Function(
            name="process-video",
            on="video/upload.completed",
            handler=handler,
        )
    )
    execution = Execution(registry, step_calls(), SentEvents())
    await execution(assigned_job(traceparent=traceparent), RecordedReports())


def only(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    """Return the one span of that name."""
    (span,) = [span for span in spans.get_finished_spans() if span.name == name]
    return span


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Return trace id and parent's span id as the wire writes them."""
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else ""
    return f"{span.context.trace_id:032x}", parent


def span_id(span: ReadableSpan) -> str:
    """Return the span's id as the wire writes it."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


async def one_step(job: JobContext) -> None:
    """Run a job of one step."""
    await job.step.run("probe", asyncio.sleep, 0)


class TestJobSpan:
    async def test_belongs_to_the_trace_of_the_sender(self, spans: InMemorySpanExporter) -> None:
        """A consumer, child of the sender's span and linked to it."""
        await execute(one_step)
        span = only(spans, "process-video")

        assert (TRACE_ID, SENDER_ID) == ids(span)
        assert trace.SpanKind.CONSUMER is span.kind
        assert [SENDER_ID] == [f"{link.context.span_id:016x}" for link in span.links]

    async def test_is_not_a_child_of_what_the_worker_was_started_in(
        self, spans: InMemorySpanExporter
    ) -> None:
        """A job without a trace begins its own."""
        with tracing._tracer.start_as_current_span("deployment"):
            await execute(one_step, traceparent="")

        assert "" == ids(only(spans, "process-video"))[1]

    async def test_says_that_the_job_failed(self, spans: InMemorySpanExporter) -> None:
        """With the exception, once."""

        async def fail(job: JobContext) -> None:
            raise OSError("disk full")

        await execute(fail)
        span = only(spans, "process-video")

        assert trace.StatusCode.ERROR is span.status.status_code
        assert ["exception"] == [event.name for event in span.events]

    async def test_says_nothing_of_what_the_job_was_about(
        self, spans: InMemorySpanExporter
    ) -> None:
        """Type and stack of an error, of the job's and of the step's: texts may quote anything."""
        planted = "hunter2"

        async def log_in() -> None:
            raise PermissionError(f"no access with {planted}")

        async def fail(job: JobContext) -> None:
            await job.step.run("log in", log_in)

        await execute(fail)
        told = [only(spans, name) for name in ("process-video", "log in")]

        assert ["PermissionError"] * 2 == [(one.attributes or {})["error.type"] for one in told]
        assert [1, 1] == [len(one.events) for one in told]
        assert [trace.StatusCode.ERROR] * 2 == [one.status.status_code for one in told]
        assert "no access with hunter2" not in "".join(one.to_json() for one in told)


class TestStepSpan:
    async def test_is_a_child_of_its_job(self, spans: InMemorySpanExporter) -> None:
        """Named by its key."""
        await execute(one_step)

        assert (TRACE_ID, span_id(only(spans, "process-video"))) == ids(only(spans, "probe"))

    async def test_is_the_parent_of_the_calls_made_in_it(self, spans: InMemorySpanExporter) -> None:
        """What the step sends to other services continues the trace."""
        sent: list[str] = []

        async def call() -> None:
            async with Channel("127.0.0.1:1") as channel:
                sent.extend(value for key, value in channel.metadata() if key == "traceparent")

        async def handler(job: JobContext) -> None:
            await job.step.run("publish", call)

        await execute(handler)

        assert [f"00-{TRACE_ID}-{span_id(only(spans, 'publish'))}-01"] == sent


WITHOUT_OPENTELEMETRY = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from mainstay import context
from mainstay.jobs.execution import Execution
from mainstay.jobs.function import Function
from mainstay.jobs.registry import Registry
from tests.unit.sdk_jobs.recorded_reports import *

async def handler(job):
    return await job.step.run("trace", lambda: context.current().traceparent)

registry = Registry()
registry.add(Function(name="process-video", handler=handler))
job = assigned_job(traceparent="00-trace-span-01")
execution = Execution(registry, step_calls(), SentEvents())
print(asyncio.run(execution(job, RecordedReports())).result_json)
"""


class TestWithoutOpenTelemetry:
    def test_jobs_run_the_same_and_the_trace_is_carried_on(self) -> None:
        """The SDK needs grpcio and protobuf only."""
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_OPENTELEMETRY],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

        assert ('"00-trace-span-01"\n', "") == (done.stdout, done.stderr)
