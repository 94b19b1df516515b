"""From messages of those who look at jobs and steer them to values."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.formatting import STATES
from services.jobs.job import EventId, JobId
from services.jobs.job_filter import FIRST, JobFilter
from services.jobs.parsing import job_id_from
from shared.pages import forged, page_key

MAX_NAMED = 1_000
MAX_REASON = 500
MAX_SIGNAL_NAME = 200
MAX_SIGNAL_BYTES = 64 * 1024

_FROM_STATE = {number: state for state, number in STATES.items()}


def refuse(field: str, mistake: str) -> ValidationError:
    """Return the error for one field that is wrong."""
    return ValidationError(f"{field} {mistake}", fields={field: mistake})


def filter_from(message: pb.JobFilter, field: str = "filter") -> JobFilter:
    """Return which jobs are meant."""
    unknown = [number for number in message.states if number not in _FROM_STATE]
    if unknown:
        raise refuse(f"{field}.states", f"has {unknown[0]}, which is no state of a job")
    return JobFilter(
        states=frozenset(_FROM_STATE[number] for number in message.states),
        function=_text(message.function, f"{field}.function"),
        event_id=_event_id(message.event_id, f"{field}.event_id"),
        request_id=_text(message.request_id, f"{field}.request_id"),
        failure_kind=_text(message.failure_kind, f"{field}.failure_kind"),
        create_time_from=_time(message, "create_time_from", field),
        create_time_to=_time(message, "create_time_to", field),
    )


def _text(text: str, field: str) -> str | None:
    if "\0" in text:
        raise refuse(field, "must not have NUL")
    return text or None


def _event_id(text: str, field: str) -> EventId | None:
    if not text:
        return None
    try:
        return EventId(UUID(text))
    except ValueError as error:
        raise refuse(field, "must be a UUID, as SendEvents returned it") from error


def _time(message: pb.JobFilter, name: str, field: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    timestamp: Timestamp = getattr(message, name)
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise refuse(f"{field}.{name}", "must be a time between the years 1 and 9999") from error


def below_from(token: str) -> JobId:
    """Return the id below which a page begins."""
    key = page_key(token, str)
    if key is None:
        return FIRST
    try:
        return JobId(UUID(str(key[0])))
    except ValueError as error:
        raise forged() from error


def wanted_from(
    request: pb.ReplayDeadLettersRequest | pb.DiscardDeadLettersRequest,
) -> tuple[JobId, ...] | JobFilter:
    """Return which dead letters are meant: those that are named, or those that fit."""
    if bool(request.job_ids) == request.HasField("filter"):
        raise refuse("filter", "must be set unless job_ids are, and then not")
    if request.HasField("filter"):
        return filter_from(request.filter)
    return tuple(dict.fromkeys(_ids(request.job_ids)))


def _ids(texts: Iterable[str]) -> Iterable[JobId]:
    names = list(texts)
    if len(names) > MAX_NAMED:
        raise refuse("job_ids", f"has {len(names):,}; name at most {MAX_NAMED:,} in one call")
    return map(job_id_from, names)


def watched_from(request: pb.WatchJobsRequest) -> dict[JobId, int]:
    """Return the jobs to watch with the revision that was seen of each."""
    if not 1 <= len(request.jobs) <= MAX_NAMED:
        raise refuse("jobs", f"has {len(request.jobs):,}; name 1 to {MAX_NAMED:,}")
    watched = {job_id_from(each.job_id): each.after_revision for each in request.jobs}
    if len(watched) < len(request.jobs):
        raise refuse("jobs", "names a job twice")
    return watched


def reason_from(text: str) -> str:
    """Return why a job is to end."""
    if len(text) > MAX_REASON or "\0" in text:
        raise refuse("reason", f"must be at most {MAX_REASON} characters, none of them NUL")
    return text


def signal_from(request: pb.SignalJobRequest) -> tuple[str, str]:
    """Return the name of a signal and what it says, as JSON."""
    if not 1 <= len(request.name) <= MAX_SIGNAL_NAME or "\0" in request.name:
        raise refuse("name", f"must be 1 to {MAX_SIGNAL_NAME} characters, none of them NUL")
    data = request.data_json or "null"
    if (size := len(data.encode())) > MAX_SIGNAL_BYTES:
        raise refuse(
            "data_json",
            f"has {size:,} bytes, more than {MAX_SIGNAL_BYTES:,}; store it elsewhere and say where",
        )
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise refuse("data_json", f"is not JSON: {error}") from error
    return request.name, data
