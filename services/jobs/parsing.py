"""From messages to values."""

from typing import Any
from uuid import UUID

import orjson
from google.protobuf.json_format import MessageToDict

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from services.jobs.event import EventDraft, JobDraft
from services.jobs.job import JobId
from services.jobs.payload import MAX_DATA_BYTES
from services.jobs.wire_times import seconds_of

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
            data=_data_from(event, f"events[{number}].object"),
            idempotency_key=event.idempotency_key,
            priority=event.priority if event.HasField("priority") else None,
            delay=seconds_of(event.delay) if event.HasField("delay") else 0.0,
        )
        for number, event in enumerate(request.events)
    ]


def job_draft_from(request: job_pb.EnqueueRequest) -> JobDraft:
    """Return the job of a request as it was asked for."""
    return JobDraft(
        function=request.function,
        data=_data_from(request, "object"),
        idempotency_key=request.idempotency_key,
        priority=request.priority if request.HasField("priority") else None,
        delay=seconds_of(request.delay) if request.HasField("delay") else 0.0,
    )


def _data_from(message: job_pb.Event | job_pb.EnqueueRequest, field: str) -> str | None:
    match message.WhichOneof("data"):
        case "json":
            return message.json
        case "object":
            if (size := message.object.ByteSize()) > MAX_DATA_BYTES:
                # Making JSON of a larger one would hold up everybody for a second.
                mistake = f"{size:,} bytes, more than {MAX_DATA_BYTES:,}; send it as json"
                raise ValidationError(f"{field} {mistake}", fields={field: mistake})
            try:
                return orjson.dumps(_whole(MessageToDict(message.object))).decode()
            except (RecursionError, orjson.JSONEncodeError) as error:
                raise ValidationError(
                    f"{field} is nested too deeply", fields={field: "nested too deeply"}
                ) from error
            except ValueError as error:
                raise ValidationError(
                    f"{field} cannot be written as JSON", fields={field: str(error)}
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
