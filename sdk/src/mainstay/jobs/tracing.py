"""Spans of jobs and steps: OpenTelemetry's when the application has set it up, else nothing.

Without it the job's `traceparent` still reaches every call made by a handler, as part of the
current request (`mainstay.context`).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

from mainstay.jobs.assignment import AssignedJob

_NOTHING = nullcontext()

if find_spec("opentelemetry") is not None:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    from mainstay.tracing import record_error

    _propagator = TraceContextTextMapPropagator()
    _tracer = trace.get_tracer("mainstay.worker")

    def _nobody_listens() -> bool:
        """Tell whether the application has set no tracing up: spans would cost 10 µs for nothing.

        The trace is carried on all the same, as when OpenTelemetry is not installed.
        """
        return isinstance(_tracer, trace.ProxyTracer) and isinstance(
            trace.get_tracer_provider(), trace.ProxyTracerProvider
        )

    def job_span(job: AssignedJob) -> AbstractContextManager[None]:
        """Trace one attempt, if somebody listens."""
        return _NOTHING if _nobody_listens() else _job_span(job)

    @contextmanager
    def _job_span(job: AssignedJob) -> Iterator[None]:
        """Trace one attempt in the trace of the request that sent the event.

        It is a child of that request's span, so that one trace tells the whole story, and linked to
        it, for tools that show a queue's two ends as two traces.
        """
        sender = _propagator.extract({"traceparent": job.traceparent})
        origin = trace.get_current_span(sender).get_span_context()
        with _tracer.start_as_current_span(
            job.function,
            context=sender,
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(origin)] if origin.is_valid else [],
            attributes={
                "messaging.system": "mainstay",
                "messaging.operation.type": "process",
                "messaging.destination.name": job.event_name,
                "messaging.message.id": job.job_id,
                "mainstay.job.attempt": job.attempt,
                "request.id": job.request_id,
                "mainstay.tenant": job.tenant,
            },
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def step_span(key: str) -> AbstractContextManager[None]:
        """Trace one step within its job, if somebody listens."""
        return _NOTHING if _nobody_listens() else _step_span(key)

    @contextmanager
    def _step_span(key: str) -> Iterator[None]:
        with _tracer.start_as_current_span(
            key,
            attributes={"mainstay.step.key": key},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                record_error(span, error)
                raise

    def record_failure(error: BaseException) -> None:
        """Mark the current span as failed; the error's text is in the job's history and log."""
        record_error(trace.get_current_span(), error)

else:

    def job_span(job: AssignedJob) -> AbstractContextManager[None]:
        """Trace nothing."""
        del job
        return _NOTHING

    def step_span(key: str) -> AbstractContextManager[None]:
        """Trace nothing."""
        del key
        return _NOTHING

    def record_failure(error: BaseException) -> None:
        """Record nothing."""
        del error
