"""From a worker's messages to values."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import token as tokens
from services.jobs.frames import (
    Credit,
    Drain,
    Heartbeat,
    HeldToken,
    Hello,
    Incoming,
    JobBeat,
    ReportBatch,
)
from services.jobs.function import (
    DEBOUNCE_PERIODS,
    DEFAULT_BACKOFF,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_SPILL_DELAY,
    Debounce,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from services.jobs.job import SessionId
from services.jobs.report_parsing import report_from
from services.jobs.retry import Backoff
from services.jobs.wire_times import seconds_of

_UUID_BYTES = 16


def hello_from(request: worker_pb.SessionRequest) -> Hello:
    """Return the first frame of a stream, which has to be Hello."""
    match frame_from(request):
        case Hello() as hello:
            return hello
        case other:
            raise ValidationError(
                f"the first frame was {type(other).__name__}, not Hello",
                fields={"frame": "must be hello first"},
            )


def frame_from(request: worker_pb.SessionRequest) -> Incoming:
    """Return a frame of a worker."""
    match request.WhichOneof("frame"):
        case "hello":
            return hello(request.hello)
        case "credit":
            return Credit(jobs=request.credit.jobs)
        case "heartbeat":
            return Heartbeat(
                tokens=_held(request.heartbeat.tokens), jobs=tuple(_beats(request.heartbeat.jobs))
            )
        case "reports":
            return reports_from(request.reports.reports)
        case "drain":
            return Drain()
        case _:
            raise ValidationError(
                "a frame without content", fields={"frame": "one kind of frame must be set"}
            )


def hello(message: worker_pb.Hello) -> Hello:
    """Return how a worker introduces itself."""
    resume = message.resume_session
    # What is not an id of ours names no session, and the worker gets a new one.
    known = len(resume) == _UUID_BYTES
    return Hello(
        worker=message.worker,
        functions=tuple(map(_function, message.functions)),
        resume=SessionId(UUID(bytes=resume)) if known else None,
        in_flight=_held(message.in_flight_tokens),
    )


def session_from(raw: bytes) -> SessionId:
    """Return the id in a request; bytes that are none name a session that there is not."""
    return SessionId(UUID(bytes=raw if len(raw) == _UUID_BYTES else bytes(_UUID_BYTES)))


def reports_from(reports: Sequence[worker_pb.Report]) -> ReportBatch:
    """Return the reports of a request."""
    return ReportBatch(reports=tuple(map(report_from, reports)))


def _function(definition: function_pb2.FunctionDefinition) -> FunctionDefinition:
    maximum = _seconds(definition, "max_backoff", DEFAULT_BACKOFF.maximum)
    # A function that only lowers the longest wait means the first one too.
    initial = _seconds(definition, "initial_backoff", min(DEFAULT_BACKOFF.initial, maximum))
    rate_limit = _rate_limit(definition)
    keyed = definition.keyed_concurrency
    return FunctionDefinition(
        name=definition.name,
        trigger=definition.trigger,
        max_attempts=definition.max_attempts or DEFAULT_MAX_ATTEMPTS,
        backoff=Backoff(initial=initial, maximum=maximum),
        version=definition.version,
        version_policy=_VERSION_POLICIES.get(definition.version_policy, VersionPolicy.CONTINUE),
        timeout=_seconds_if_set(definition, "timeout"),
        hang_timeout=_seconds_if_set(definition, "hang_timeout"),
        start_timeout=_seconds_if_set(definition, "start_timeout"),
        priority=definition.priority,
        concurrency=definition.concurrency,
        key_pointer=keyed.key or (rate_limit.subject if rate_limit and rate_limit.by_key else ""),
        key_limit=keyed.limit,
        rate_limit=rate_limit,
        debounce=_debounce(definition),
        idempotency=definition.idempotency,
        overflow=_overflow(definition),
    )


_VERSION_POLICIES = {
    function_pb2.VERSION_POLICY_PIN: VersionPolicy.PIN,
    function_pb2.VERSION_POLICY_FAIL: VersionPolicy.FAIL,
}
_OVERFLOW_POLICIES = {
    function_pb2.OVERFLOW_POLICY_SHED_OLDEST: OverflowPolicy.SHED_OLDEST,
    function_pb2.OVERFLOW_POLICY_SPILL: OverflowPolicy.SPILL,
}


def _rate_limit(definition: function_pb2.FunctionDefinition) -> RateLimit | None:
    if not definition.HasField("rate_limit"):
        return None
    rate = definition.rate_limit
    return RateLimit(endpoint=rate.endpoint, subject=rate.subject)


def _debounce(definition: function_pb2.FunctionDefinition) -> Debounce | None:
    if not definition.HasField("debounce"):
        return None
    debounce = definition.debounce
    period = seconds_of(debounce.period)
    return Debounce(
        period=period,
        key=debounce.key,
        max_wait=_seconds(debounce, "max_wait", period * DEBOUNCE_PERIODS),
    )


def _overflow(definition: function_pb2.FunctionDefinition) -> Overflow | None:
    if not definition.HasField("overflow"):
        return None
    overflow = definition.overflow
    return Overflow(
        policy=_OVERFLOW_POLICIES.get(overflow.policy, OverflowPolicy.REJECT),
        max_depth=overflow.max_depth,
        max_age=_seconds_if_set(overflow, "max_age"),
        max_bytes=overflow.max_bytes,
        spill_delay=_seconds(overflow, "spill_delay", DEFAULT_SPILL_DELAY),
    )


def _seconds(message: Any, field: str, default: float) -> float:
    found = _seconds_if_set(message, field)
    return default if found is None else found


def _seconds_if_set(message: Any, field: str) -> float | None:
    return seconds_of(getattr(message, field)) if message.HasField(field) else None


def _beats(beats: Iterable[worker_pb.JobBeat]) -> Iterator[JobBeat]:
    for beat in beats:
        # What is no token names no job of the worker's.
        if (token := tokens.decode(beat.token)) is not None:
            yield JobBeat(token=token, idle=seconds_of(beat.idle))


def _held(raw_tokens: Sequence[bytes]) -> tuple[HeldToken, ...]:
    return tuple(HeldToken(raw=raw, token=tokens.decode(raw)) for raw in raw_tokens)
