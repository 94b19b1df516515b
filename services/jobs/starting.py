"""From a function and a payload to the job that is to be stored."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from services.jobs.event import NewEvent, Origin
from services.jobs.function import FunctionDefinition
from services.jobs.job import EventId, JobId
from services.jobs.retry import Backoff

MAX_VALUE_BYTES = 200
"""Longer values of the payload are known by their hash."""

_NOTHING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be stored. Times are in seconds.

    Attributes:
        size: Of the payload, in bytes.
        key: What caps and rates by key count it under; empty for none.
        delay: How long it has to wait; 0 when it could start now.
        start_timeout: How long it may wait for its first attempt; None for any time.
        parent: The job that invokes it, in its step `parent_key`; None for none.
        lineage: The functions that led to it by invoking, oldest first.

    """

    job_id: JobId
    function: str
    event_id: EventId
    event_name: str
    data: str
    size: int
    key: str
    priority: int
    delay: float
    max_attempts: int
    backoff: Backoff
    start_timeout: float | None
    request_id: str
    traceparent: str
    schedule: str = ""
    parent: JobId | None = None
    parent_key: str | None = None
    lineage: tuple[str, ...] = ()


def job_of(
    function: FunctionDefinition,
    event: NewEvent,
    origin: Origin,
    job_id: JobId,
    *,
    delay: float | None = None,
) -> NewJob:
    """Return the job of a function that an event starts; `delay` replaces the event's own."""
    return NewJob(
        job_id=job_id,
        function=function.name,
        event_id=event.event_id,
        event_name=event.name,
        data=event.data,
        size=event.size,
        key=key_of(function, event.value),
        priority=function.priority if event.priority is None else event.priority,
        delay=event.delay if delay is None else delay,
        max_attempts=function.max_attempts,
        backoff=function.backoff,
        start_timeout=function.start_timeout,
        request_id=origin.request_id,
        traceparent=origin.traceparent,
        schedule=origin.schedule,
    )


def key_of(function: FunctionDefinition, value: Any) -> str:
    """Return what caps and rates by key count a payload under; those without a value share one."""
    return text_at(value, function.key_pointer) or "" if function.key_pointer else ""


def text_at(value: Any, pointer: str) -> str | None:
    """Return what stands at a JSON pointer (RFC 6901) as text; None where nothing or null does.

    Texts stand for themselves, everything else for its JSON. What is too long, or cannot be stored
    as text, stands for its hash.
    """
    found = _at(value, pointer)
    if found is None or found is _NOTHING:
        return None
    text = found if isinstance(found, str) else _canonical(found)
    encoded = text.encode()
    if len(encoded) <= MAX_VALUE_BYTES and "\0" not in text:
        return text
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _canonical(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _at(value: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        match value:
            case dict() if name in value:
                value = value[name]
            case list() if _is_index(name) and int(name) < len(value):
                value = value[int(name)]
            case _:
                return _NOTHING
    return value


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
