"""Trace context of the SDK's calls: OpenTelemetry's when it is installed, else carried along.

With the extra `mainstay[otel]` and a tracer provider set up by the application, every call is a
client span. Without, the `traceparent` of the current request passes through unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from mainstay.context import RequestContext

Header = tuple[str, str]


def _carried(context: RequestContext | None) -> list[Header]:
    if context is None or not context.traceparent:
        return []
    headers = [("traceparent", context.traceparent)]
    if context.tracestate:
        headers.append(("tracestate", context.tracestate))
    return headers


if find_spec("opentelemetry") is not None:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _propagator = TraceContextTextMapPropagator()
    _tracer = trace.get_tracer("mainstay")

    def _inherited(context: RequestContext | None) -> otel_context.Context | None:
        """Return the context to hang a span on when no span is current in this process."""
        if trace.get_current_span().get_span_context().is_valid:
            return None
        return _propagator.extract(dict(_carried(context)))

    def trace_headers(context: RequestContext | None) -> list[Header]:
        """Return the headers that carry the current span, or else the request's trace."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, _inherited(context))
        return list(carrier.items())

    @contextmanager
    def client_span(
        method: str, target: str, context: RequestContext | None
    ) -> Iterator[list[Header]]:
        """Trace one call; yields the headers that carry the trace to the other end."""
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "server.address": target,
        }
        with _tracer.start_as_current_span(
            method,
            context=_inherited(context),
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        ):
            # Without a provider the span records nothing, and has the context of its parent.
            yield trace_headers(context)

else:
    trace_headers = _carried

    @contextmanager
    def client_span(
        method: str, target: str, context: RequestContext | None
    ) -> Iterator[list[Header]]:
        """Carry the request's trace context to the other end."""
        del method, target
        yield _carried(context)
