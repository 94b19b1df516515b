"""Spans of services and of the SDK that run in the test's own process, kept in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.recorder import Recorder


@contextmanager
def recording_spans(*, ratio: float = 1.0) -> Iterator[InMemorySpanExporter]:
    """Record what ends within the block, of traces that begin in services with a ratio.

    A process has one tracer provider for good, so the first one is kept.
    """
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(processor)
    before = Recorder.installed
    Recorder.installed = Recorder(processor, Resource.create({}), ratio=ratio)
    try:
        yield exporter
    finally:
        Recorder.installed = before
        exporter.shutdown()


def context_of(one: ReadableSpan) -> trace.SpanContext:
    """Return the ids of a span."""
    assert isinstance(one.context, trace.SpanContext)
    return one.context


def attributes_of(one: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span."""
    return dict(one.attributes or {})
