"""From messages to values."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import token as tokens
from services.jobs.event import EventDraft
from services.jobs.frames import (
    Credit,
    Drain,
    Heartbeat,
    HeldToken,
    Hello,
    Incoming,
    ReportBatch,
)
from services.jobs.function import DEFAULT_BACKOFF, DEFAULT_MAX_ATTEMPTS, FunctionDefinition
from services.jobs.job import Failure, JobId, Progress, SessionId
from services.jobs.reports import Completed, Failed, News, Released, Report, StepCompleted
from services.jobs.retry import Backoff

MAX_PROGRESS_MESSAGE = 500
MAX_FAILURE_KIND = 200
MAX_FAILURE_MESSAGE = 2_000

_EXACT_FLOAT = 2**53
_UUID_BYTES = 16


def job_id_from(text: str) -> JobId:
    """Return the id in a request."""
    try:
        return JobId(UUID(text))
    except ValueError as error:
        raise ValidationError(
            f"{text[:100]!r} is not a job id",
            fields={"job_id": "must be a UUID, as SendEvents returned it"},
        ) from error


def drafts_from(request: job_pb.SendEventsRequest) -> list[EventDraft]:
    """Return the events of a request as they were sent."""
    return [
        EventDraft(
            name=event.name,
            version=event.version,
            data=_data_from(event, number),
            idempotency_key=event.idempotency_key,
        )
        for number, event in enumerate(request.events)
    ]


def _data_from(event: job_pb.Event, number: int) -> str | None:
    match event.WhichOneof("data"):
        case "json":
            return event.json
        case "object":
            try:
                return orjson.dumps(_whole(MessageToDict(event.object))).decode()
            except (RecursionError, orjson.JSONEncodeError) as error:
                raise ValidationError(
                    f"events[{number}].object is nested too deeply",
                    fields={f"events[{number}].object": "nested too deeply"},
                ) from error
            except ValueError as error:
                raise ValidationError(
                    f"events[{number}].object cannot be written as JSON",
                    fields={f"events[{number}].object": str(error)},
                ) from error
        case _:
            return None


def _whole(value: Any) -> Any:
    """Undo what a Struct does to whole numbers: it holds 5 as 5.0."""
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT_FLOAT:
            return int(value)
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


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
            return _hello(request.hello)
        case "credit":
            return Credit(jobs=request.credit.jobs)
        case "heartbeat":
            return Heartbeat(tokens=_held(request.heartbeat.tokens))
        case "reports":
            return ReportBatch(reports=tuple(map(_report, request.reports.reports)))
        case "drain":
            return Drain()
        case _:
            raise ValidationError(
                "a frame without content", fields={"frame": "one kind of frame must be set"}
            )


def _hello(hello: worker_pb.Hello) -> Hello:
    resume = hello.resume_session
    # What is not an id of ours names no session, and the worker gets a new one.
    known = len(resume) == _UUID_BYTES
    return Hello(
        worker=hello.worker,
        functions=tuple(map(_function, hello.functions)),
        resume=SessionId(UUID(bytes=resume)) if known else None,
        in_flight=_held(hello.in_flight_tokens),
    )


def _function(definition: worker_pb.FunctionDefinition) -> FunctionDefinition:
    maximum = _seconds(definition, "max_backoff", DEFAULT_BACKOFF.maximum)
    # A function that only lowers the longest wait means the first one too.
    initial = _seconds(definition, "initial_backoff", min(DEFAULT_BACKOFF.initial, maximum))
    return FunctionDefinition(
        name=definition.name,
        trigger=definition.trigger,
        max_attempts=definition.max_attempts or DEFAULT_MAX_ATTEMPTS,
        backoff=Backoff(initial=initial, maximum=maximum),
    )


def _seconds(definition: worker_pb.FunctionDefinition, field: Any, default: float) -> float:
    if not definition.HasField(field):
        return default
    return _seconds_of(getattr(definition, field))


def _seconds_of(duration: Duration) -> float:
    seconds: float = duration.seconds + duration.nanos / 1e9
    return seconds


def _held(raw_tokens: Sequence[bytes]) -> tuple[HeldToken, ...]:
    return tuple(HeldToken(raw=raw, token=tokens.decode(raw)) for raw in raw_tokens)


def _report(report: worker_pb.Report) -> Report:
    return Report(
        raw_token=report.token,
        token=tokens.decode(report.token),
        sequence=min(report.sequence, 2**63 - 1),
        news=_news(report),
    )


def _news(report: worker_pb.Report) -> News | None:
    match report.WhichOneof("report"):
        case "step_completed":
            step = report.step_completed
            return StepCompleted(key=step.key, result=step.result_json)
        case "progress":
            message = _text(report.progress.message, MAX_PROGRESS_MESSAGE)
            return Progress(fraction=report.progress.fraction, message=message)
        case "completed":
            return Completed(result=report.completed.result_json)
        case "failed":
            return _failed(report.failed)
        case "released":
            return Released()
        case _:
            return None


def _failed(failed: worker_pb.Failed) -> Failed:
    failure = Failure(
        kind=_text(failed.kind, MAX_FAILURE_KIND) or "Error",
        message=_text(failed.message, MAX_FAILURE_MESSAGE),
        permanent=failed.permanent,
    )
    asked = failed.HasField("retry_after")
    return Failed(failure=failure, retry_after=_seconds_of(failed.retry_after) if asked else None)


def _text(text: str, longest: int) -> str:
    """Return text for people, cut and without the one character that the database refuses."""
    return text[:longest].replace("\0", "\N{REPLACEMENT CHARACTER}")
