"""Where spans go: a file, or a collector over OTLP, as settings and OpenTelemetry's variables say.

Nothing is exported unless somebody says where to. The standard variables are understood:
`OTEL_EXPORTER_OTLP_*` (endpoint, headers, timeout, certificates), `OTEL_SERVICE_NAME` and
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_SDK_DISABLED`, and of
`OTEL_TRACES_EXPORTER` the value `none`. `OTEL_TRACES_SAMPLER` and its `_ARG` count where
MAINSTAY_TRACE_SAMPLE_RATIO is not set; the decision of a caller always stands, also with the
samplers that would not ask for it.
"""

import atexit
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from mainstay.errors import ConfigurationError
from shared.config import CommonSettings
from shared.telemetry import metrics
from shared.telemetry.recorder import Recorder

MAX_WAITING = 2_048
"""Spans that wait to be exported; further ones are dropped and counted."""

SCHEDULE_DELAY = 500.0
"""Milliseconds that a span waits for others to leave with it."""

FAREWELL = 2.0
"""Longest wait at the end for the last spans to leave, in seconds."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FIXED_SAMPLERS = {
    "always_on": 1.0,
    "always_off": 0.0,
    "parentbased_always_on": 1.0,
    "parentbased_always_off": 0.0,
}
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")


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


class BoundedProcessor(SpanProcessor):
    """Has spans exported by a thread; what does not get through is dropped and counted.

    The processor of the SDK writes a log line for what it drops; here it never has too many.
    """

    def __init__(self, exporter: SpanExporter, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._accepted = 0
        self._gone = 0
        delay = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else SCHEDULE_DELAY
        self._batches = BatchSpanProcessor(
            _CountedExporter(exporter, self._count_gone),
            max_queue_size=max_waiting,
            max_export_batch_size=min(512, max_waiting),
            schedule_delay_millis=delay,
        )

    def _count_gone(self, spans: int) -> None:
        self._gone += spans

    def on_end(self, span: ReadableSpan) -> None:
        """Take a finished span, if there is room."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        if self._accepted - self._gone >= self._max_waiting:
            metrics.trace_spans_dropped.inc()
            return
        self._accepted += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export what waits, but wait no longer than a moment for that."""
        last = threading.Thread(target=self._batches.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(FAREWELL)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self._batches.force_flush(timeout_millis)


class _CountedExporter(SpanExporter):
    """Tells how many spans have left, one way or the other."""

    def __init__(self, exporter: SpanExporter, count_gone: Callable[[int], None]) -> None:
        self._exporter = exporter
        self._count_gone = count_gone

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._count_gone(len(spans))
            if result is not SpanExportResult.SUCCESS:
                metrics.trace_spans_dropped.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def exports_traces(settings: CommonSettings) -> bool:
    """Return whether spans go anywhere."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return _endpoint(settings) is not None or settings.trace_file is not None


def configure_tracing(service: str, settings: CommonSettings) -> bool:
    """Set up the exporters that are named; returns whether there are any.

    Raises ConfigurationError for a sampler that does not exist, and a file that cannot be written.
    """
    if not exports_traces(settings):
        return False
    ratio = sample_ratio(settings)
    resource = _resource(service, settings)
    # Its spans are those of calls to other services, which the SDK makes.
    provider = TracerProvider(
        resource=resource, sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False
    )
    processors = [BoundedProcessor(exporter) for exporter in _exporters(settings)]
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    Recorder.installed = Recorder(_Several(processors), resource, ratio=ratio)
    atexit.register(provider.shutdown)
    return True


class _Several(SpanProcessor):
    """Gives each span to all processors, without the lock of the SDK's."""

    def __init__(self, processors: Sequence[SpanProcessor]) -> None:
        self._processors = tuple(processors)

    def on_end(self, span: ReadableSpan) -> None:
        for processor in self._processors:
            processor.on_end(span)


def sample_ratio(settings: CommonSettings) -> float:
    """Return the share of the traces begun here that are recorded."""
    sampler = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if not sampler or "trace_sample_ratio" in settings.model_fields_set:
        return settings.trace_sample_ratio
    if sampler in _FIXED_SAMPLERS:
        return _FIXED_SAMPLERS[sampler]
    if sampler in _RATIO_SAMPLERS:
        return _ratio(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "") or "1")
    known = ", ".join((*_FIXED_SAMPLERS, *_RATIO_SAMPLERS))
    raise ConfigurationError(
        f"OTEL_TRACES_SAMPLER={sampler} is not known here; use one of {known}, or "
        "MAINSTAY_TRACE_SAMPLE_RATIO"
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER_ARG={text} is no ratio; write a number from 0 to 1"
        )
    return ratio


def _resource(service: str, settings: CommonSettings) -> Resource:
    ours = Resource.create(
        {
            "service.name": service,
            "service.namespace": "mainstay",
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            "deployment.environment.name": settings.environment,
        }
    )
    # What the operator says comes last and wins.
    return ours.merge(OTELResourceDetector().detect())


def _endpoint(settings: CommonSettings) -> str | None:
    if settings.otlp_endpoint:
        return f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    # The exporter itself reads what these say; an empty one counts as not set.
    return "" if any(os.environ.get(name) for name in _ENDPOINTS) else None


def _exporters(settings: CommonSettings) -> Iterator[SpanExporter]:
    if settings.trace_file is not None:
        yield JsonLinesExporter(settings.trace_file)
    endpoint = _endpoint(settings)
    if endpoint is not None:
        # Imported here: it brings an HTTP client, which a service without traces need not load.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        yield OTLPSpanExporter(endpoint or None)
