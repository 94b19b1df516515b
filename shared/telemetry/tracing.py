"""Traces: decided when a call begins, written down when it has ended.

Whether a call is recorded follows from its caller's `traceparent`, or from the ratio where a trace
begins here. A call that is not recorded costs the making of a span id; for one that is, spans are
made afterwards, with the times they took, and OpenTelemetry's tracer is not asked on the way. A
call that fails by a fault of the server is recorded whatever had been decided.
"""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mainstay.context import current
from mainstay.tracing import describe_error, record_error, type_of
from shared.telemetry.masking import mask_text
from shared.telemetry.recorder import Attributes, Recorder

# Of the status codes, only these are the server's fault (OpenTelemetry's conventions for RPC).
SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)

_TRACE_ID = slice(3, 35)  # of 00-<trace id>-<span id>-<flags>
_SPAN_ID = slice(36, 52)
_SAMPLED = frozenset("13579bdf")  # the last digit of the flags
_LOW_BITS = 2**64 - 1
_FLAGS = trace.TraceFlags(trace.TraceFlags.SAMPLED)

_tracer = trace.get_tracer("mainstay")
_propagator = TraceContextTextMapPropagator()


def begin(caller: str) -> str:
    """Return the `traceparent` of a call that begins now; `caller` is what came with it, or empty.

    The caller's decision stands; without one, the ratio decides.
    """
    if caller:
        trace_id, sampled = caller[_TRACE_ID], caller[-1] in _SAMPLED
    else:
        number = random.getrandbits(128) or 1
        recorder = Recorder.installed
        trace_id = f"{number:032x}"
        sampled = recorder is not None and number & _LOW_BITS < recorder.bound
    span_id = random.getrandbits(64) or 1
    return f"00-{trace_id}-{span_id:016x}-{'01' if sampled else '00'}"


def is_sampled(traceparent: str) -> bool:
    """Return whether a trace is recorded; an empty one is not."""
    return traceparent[-1:] in _SAMPLED if traceparent else False


def trace_id(traceparent: str) -> str:
    """Return the trace id of a W3C header, or nothing."""
    return traceparent[_TRACE_ID]


def records() -> bool:
    """Return whether spans go anywhere; where they do not, what is by the thousand has none."""
    return Recorder.installed is not None


class Recording:
    """A call, or several that are served together, whose work has spans below theirs.

    Closed when the call ends: a task that it leaves behind works for nobody in particular.
    """

    __slots__ = ("_links", "_parent", "_traceparents", "is_open")

    def __init__(self, *traceparents: str) -> None:
        self._traceparents = traceparents
        self._parent: trace.SpanContext | None = None
        self._links: tuple[trace.Link, ...] = ()
        self.is_open = True

    def add(
        self,
        name: str,
        *,
        seconds: float,
        attributes: Attributes,
        kind: trace.SpanKind = trace.SpanKind.CLIENT,
        failed: bool = False,
    ) -> None:
        """Export a piece of work that ends now: in the first call's trace, linked to the others."""
        recorder = Recorder.installed
        if recorder is None:
            return
        if self._parent is None:
            self._parent, *others = map(_span_context, self._traceparents)
            self._links = tuple(map(trace.Link, others))
        recorder.record(
            name,
            trace.SpanContext(self._parent.trace_id, _new_span_id(), False, _FLAGS),
            self._parent,
            kind=kind,
            seconds=seconds,
            attributes=attributes,
            failed=failed,
            links=self._links,
        )


_recording: ContextVar[Recording | None] = ContextVar("mainstay_recording", default=None)


def enter(traceparent: str) -> Recording:
    """Record what the rest of this task does for a call, until the recording is closed."""
    recording = Recording(traceparent)
    _recording.set(recording)
    return recording


def recording() -> Recording | None:
    """Return where spans of the work that is being done belong, or None if they have no place."""
    found = _recording.get()
    return found if found is not None and found.is_open else None


@contextmanager
def on_behalf_of(traceparents: Iterable[str]) -> Iterator[None]:
    """Do in the block what several calls wait for; those of them that are recorded get spans."""
    if Recorder.installed is None or not (chosen := [*filter(is_sampled, traceparents)]):
        yield
        return
    together = Recording(*chosen)
    before = _recording.set(together)
    try:
        yield
    finally:
        together.is_open = False
        _recording.reset(before)


def record_moment(name: str, attributes: Attributes, traceparent: str) -> None:
    """Export that something happened in a trace, if that is recorded."""
    if Recorder.installed is not None and is_sampled(traceparent):
        Recording(traceparent).add(
            name, seconds=0.0, attributes=attributes, kind=trace.SpanKind.INTERNAL
        )


def record_call(
    method: str,
    traceparent: str,
    *,
    caller: str,
    tracestate: str,
    seconds: float,
    code: str,
    request_id: str,
    cause: BaseException | None = None,
) -> None:
    """Export the span of a call that was served.

    `traceparent` is its own and `caller` its caller's, or empty; `cause` is what was raised if
    nobody had a name for it: its type and its stack are told, not its text, which may quote what
    the call was about. A call that failed by a fault of the server has its span in any case.
    """
    recorder = Recorder.installed
    failed = cause is not None or code in SERVER_FAULTS
    if recorder is None or not (
        is_sampled(traceparent) or (failed and recorder.keeps_error(int(time.monotonic())))
    ):
        return
    attributes: dict[str, str] = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "request.id": mask_text(request_id),  # the caller's own choice
        "rpc.response.status_code": code,
    }
    if failed:
        attributes["error.type"] = code if cause is None else type_of(cause)
    recorder.record(
        method,
        _span_context(traceparent, tracestate, is_remote=False),
        _span_context(caller, tracestate) if caller else None,
        kind=trace.SpanKind.SERVER,
        seconds=seconds,
        attributes=attributes,
        failed=failed,
        events=() if cause is None else (Event("exception", describe_error(cause)),),
    )


@contextmanager
def span(name: str) -> Iterator[trace.Span]:
    """Trace a block as a child of the current span, or of the call being served.

    Of an error that leaves the block, type and stack are told, as `record_call` does.
    """
    parent = None
    if not trace.get_current_span().get_span_context().is_valid:
        request = current()
        if request is not None and request.traceparent:
            if not is_sampled(request.traceparent):
                yield trace.INVALID_SPAN
                return
            parent = _context_of(request.traceparent, request.tracestate or "")
    with _tracer.start_as_current_span(
        name, context=parent, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except Exception as error:
            record_error(opened, error)
            raise


def _context_of(traceparent: str, tracestate: str) -> Context:
    return _propagator.extract({"traceparent": traceparent, "tracestate": tracestate})


def _span_context(
    traceparent: str, tracestate: str = "", *, is_remote: bool = True
) -> trace.SpanContext:
    state = trace.TraceState.from_header([tracestate]) if tracestate else None
    return trace.SpanContext(
        int(traceparent[_TRACE_ID], 16), int(traceparent[_SPAN_ID], 16), is_remote, _FLAGS, state
    )


def _new_span_id() -> int:
    return random.getrandbits(64) or 1
