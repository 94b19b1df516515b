"""OpenTelemetry traces: off unless an exporter is set, W3C trace context always carried on."""

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mainstay.errors import ConfigurationError
from shared.config import CommonSettings

Attributes = Mapping[str, str | int | float | bool]

_tracer = trace.get_tracer("mainstay")
_propagator = TraceContextTextMapPropagator()


class JsonLinesExporter(SpanExporter):
    """Appends spans to a file, one JSON object a line; for development and tests."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: one batch is one write, so that lines of several processes do not mix.
            self._out = path.open("ab", buffering=0)
        except OSError as error:
            raise ConfigurationError(
                f"MAINSTAY_TRACE_FILE={path} cannot be written ({error}); choose another"
            ) from error

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append a batch."""
        self._out.write("".join(f"{span.to_json(indent=None)}\n" for span in spans).encode())
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._out.close()


def configure_tracing(service: str, settings: CommonSettings) -> bool:
    """Set up the exporters that the settings name; returns whether there are any."""
    exporters = list(_exporters(settings))
    if not exporters:
        return False
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": service, "deployment.environment.name": settings.environment}
        ),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
    )
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    atexit.register(provider.shutdown)
    return True


def traced() -> bool:
    """Return whether spans go anywhere; where they do not, what is by the thousand has none."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def _exporters(settings: CommonSettings) -> Iterator[SpanExporter]:
    if settings.trace_file is not None:
        yield JsonLinesExporter(settings.trace_file)
    if settings.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        # Imported here: it brings an HTTP client, which a service without traces need not load.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        endpoint = settings.otlp_endpoint
        yield OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)


def extract(traceparent: str, tracestate: str = "") -> Context:
    """Return the context that a caller sent; an invalid one counts as none."""
    return _propagator.extract({"traceparent": traceparent, "tracestate": tracestate})


def current_traceparent() -> str:
    """Return the current span as a W3C header, or an empty string outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def span(
    name: str,
    *,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    parent: Context | None = None,
) -> Iterator[trace.Span]:
    """Trace a block as a child of `parent`, or of the current span."""
    with _tracer.start_as_current_span(
        name, context=parent, kind=kind, attributes=attributes
    ) as current:
        yield current


def start_server_span(method: str, parent: Context, attributes: Attributes) -> trace.Span:
    """Begin the span of a call that is being served."""
    return _tracer.start_span(
        method,
        context=parent,
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system.name": "grpc", "rpc.method": method, **attributes},
    )


# Of the status codes, only these are the server's fault (OpenTelemetry's conventions for RPC).
_SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


def end_server_span(span: trace.Span, code: str) -> None:
    """End the span of a call with its gRPC status."""
    span.set_attribute("rpc.response.status_code", code)
    if code in _SERVER_FAULTS:
        span.set_status(trace.StatusCode.ERROR)
    span.end()
