"""Makes spans of what is over, and hands them to the exporters.

OpenTelemetry's tracer makes spans of what begins, with a sampler, a lock and limits around each:
some ten times the work. Its exporters take either.
"""

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status

Attributes = Mapping[str, str | int | float | bool]

MAX_ERRORS_KEPT = 50
"""Failed calls a second that are recorded though their traces are not: a storm has enough to do."""

_SCOPE = InstrumentationScope("mainstay")
_UNSET = Status(trace.StatusCode.UNSET)
_ERROR = Status(trace.StatusCode.ERROR)


class Recorder:
    """Where spans go, and which share of the traces that begin here is recorded."""

    installed: ClassVar["Recorder | None"] = None
    """The one of this process, once its tracing has been set up."""

    def __init__(self, processor: SpanProcessor, resource: Resource, *, ratio: float = 1.0) -> None:
        self._processor = processor
        self._resource = resource
        # The rule of OpenTelemetry's TraceIdRatioBased, so that all who know an id decide alike.
        self.bound = round(ratio * 2**64)
        self._second = 0
        self._errors_kept = 0

    def keeps_error(self, second: int) -> bool:
        """Return whether one more failed call of an unrecorded trace is recorded."""
        if second != self._second:
            self._second, self._errors_kept = second, 0
        self._errors_kept += 1
        return self._errors_kept <= MAX_ERRORS_KEPT

    def record(
        self,
        name: str,
        context: trace.SpanContext,
        parent: trace.SpanContext | None,
        *,
        kind: trace.SpanKind,
        seconds: float,
        attributes: Attributes,
        failed: bool = False,
        events: Sequence[Event] = (),
        links: Sequence[trace.Link] = (),
    ) -> None:
        """Export a span that ends now and began `seconds` ago."""
        end = time.time_ns()
        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes,
                events,
                links,
                kind,
                None,
                _ERROR if failed else _UNSET,
                end - int(seconds * 1e9),
                end,
                _SCOPE,
            )
        )
