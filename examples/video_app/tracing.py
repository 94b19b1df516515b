"""OpenTelemetry, set up as an application would: Mainstay only uses what it finds.

The SDK traces every call, job and step as soon as a tracer provider is there. This one appends to a
file, so that the trace of a request can be put together without a collector; a product would send
its spans over OTLP.
"""

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

VARIABLE = "MAINSTAY_TRACE_FILE"
# More than the largest batch of spans takes: each batch leaves in one write, so that the lines of
# several processes that append to one file do not mix.
_BUFFER_BYTES = 4 * 1024 * 1024
_EXPORT_MILLISECONDS = 200


def configure_tracing(service: str) -> TracerProvider | None:
    """Record spans as `service` if MAINSTAY_TRACE_FILE names a file; returns what records them."""
    if not (name := os.environ.get(VARIABLE)):
        return None
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    out = path.open("a", buffering=_BUFFER_BYTES, encoding="utf-8")
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(
            ConsoleSpanExporter(out=out, formatter=_json_line),
            schedule_delay_millis=_EXPORT_MILLISECONDS,
        )
    )
    trace.set_tracer_provider(provider)
    return provider


def _json_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
