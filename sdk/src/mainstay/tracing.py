"""Trace context of the SDK's calls: OpenTelemetry's when it is installed, else carried along.

With the extra `mainstay[otel]` and a tracer provider set up by the application, every call is a
client span, as OpenTelemetry's conventions for RPC want it. Without, the `traceparent` of the
current request passes through unchanged.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from traceback import format_tb

from mainstay.context import RequestContext
from mainstay.errors import MainstayError

MAX_FRAMES = 30
"""Frames of a stack trace that a span keeps, the innermost ones."""

Header = tuple[str, str]


def type_of(error: BaseException) -> str:
    """Return the full name of an error's class, as OpenTelemetry's conventions want it."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def describe_error(error: BaseException) -> dict[str, str]:
    """Return what spans tell of an error: not its text, which may quote what it is about."""
    stack = "".join(format_tb(error.__traceback__)[-MAX_FRAMES:])
    return {"exception.type": type_of(error), "exception.stacktrace": stack}


def _carried(context: RequestContext | None) -> list[Header]:
    if context is None or not context.traceparent:
        return []
    headers = [("traceparent", context.traceparent)]
    if context.tracestate:
        headers.append(("tracestate", context.tracestate))
    return headers


@lru_cache(maxsize=256)
def _server(target: str) -> dict[str, str | int]:
    """Return where a target is: `host:port`, `[::1]:port`, or what grpc alone understands."""
    host, _, port = target.rpartition(":")
    if not (host and port.isdecimal()):
        return {"server.address": target}
    return {"server.address": host.rpartition("/")[2].strip("[]"), "server.port": int(port)}


if find_spec("opentelemetry") is not None:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _propagator = TraceContextTextMapPropagator()
    _tracer = trace.get_tracer("mainstay")

    def _nobody_listens() -> bool:
        """Tell whether the application has set no tracing up: spans would cost for nothing."""
        return isinstance(_tracer, trace.ProxyTracer) and isinstance(
            trace.get_tracer_provider(), trace.ProxyTracerProvider
        )

    def _inherited(context: RequestContext | None) -> otel_context.Context | None:
        """Return the context to hang a span on when no span is current in this process."""
        if trace.get_current_span().get_span_context().is_valid:
            return None
        return _propagator.extract(dict(_carried(context)))

    def trace_headers(context: RequestContext | None) -> list[Header]:
        """Return the headers that carry the current span, or else the request's trace."""
        if not trace.get_current_span().get_span_context().is_valid:
            return _carried(context)
        return _headers(None)

    def _headers(context: otel_context.Context | None) -> list[Header]:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, context)
        return list(carrier.items())

    def _start(
        method: str, target: str, context: RequestContext | None, request_id: str
    ) -> trace.Span:
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "request.id": request_id,
            **_server(target),
        }
        kind = trace.SpanKind.CLIENT
        return _tracer.start_span(method, _inherited(context), kind, attributes)

    def record_error(span: trace.Span, error: BaseException) -> None:
        """Mark a span as failed by an error."""
        span.add_event("exception", describe_error(error))
        span.set_attribute("error.type", type_of(error))
        span.set_status(trace.StatusCode.ERROR)

    def _code_of(error: BaseException) -> str:
        if isinstance(error, asyncio.CancelledError):
            return "CANCELLED"
        return error.code.name if isinstance(error, MainstayError) else "UNKNOWN"

    @contextmanager
    def _ended(span: trace.Span) -> Iterator[None]:
        """End a span with its block, and say how the call ended.

        Errors are not recorded as exceptions: their texts may quote what they are about.
        """
        code, failed = "OK", False
        try:
            yield
        except GeneratorExit:
            code = "CANCELLED"  # by whoever read the stream, and has read enough
            raise
        except BaseException as error:
            code, failed = _code_of(error), True
            raise
        finally:
            span.set_attribute("rpc.response.status_code", code)
            if failed:
                span.set_attribute("error.type", code)
                span.set_status(trace.StatusCode.ERROR)
            span.end()

    @contextmanager
    def client_span(
        method: str, target: str, context: RequestContext | None, request_id: str = ""
    ) -> Iterator[list[Header]]:
        """Trace one call; yields the headers that carry the trace to the other end."""
        if _nobody_listens():
            yield trace_headers(context)
            return
        span = _start(method, target, context, request_id)
        within = trace.use_span(span, record_exception=False, set_status_on_exception=False)
        with _ended(span), within:
            yield trace_headers(context)

    @contextmanager
    def stream_span(
        method: str, target: str, context: RequestContext | None, request_id: str = ""
    ) -> Iterator[list[Header]]:
        """Trace one stream from its beginning to its end; yields the headers for the other end.

        The span is never current: it would be so for whoever reads the stream, too.
        """
        if _nobody_listens():
            yield trace_headers(context)
            return
        span = _start(method, target, context, request_id)
        with _ended(span):
            yield _headers(trace.set_span_in_context(span))

else:
    trace_headers = _carried

    @contextmanager
    def client_span(
        method: str, target: str, context: RequestContext | None, request_id: str = ""
    ) -> Iterator[list[Header]]:
        """Carry the request's trace context to the other end."""
        del method, target, request_id
        yield _carried(context)

    stream_span = client_span
