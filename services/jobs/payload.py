"""Payloads as callers send them: bounded, parsed once, compared by what they say."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from services.jobs.event import EventDraft, JobDraft
from services.jobs.schemas import EventSchema

MAX_DATA_BYTES = 1024 * 1024
MAX_LISTED_BYTES = 64 * 1024
"""Of a payload up to this size all mistakes are looked for, of a larger one only the first."""
MAX_KEY_BYTES = 200
MAX_PRIORITY = 100
MAX_DELAY = 365 * 24 * 3600.0
_TOO_DEEP = "nested too deeply"

Draft = EventDraft | JobDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload that was read: what it says, its size in bytes, and what identifies its content."""

    value: Any
    size: int
    content_hash: bytes


def read(draft: Draft, schema: EventSchema | None) -> tuple[Payload | None, dict[str, str]]:
    """Return the payload of a draft, and what is wrong: field → what would be right."""
    wrong = _mistakes_around(draft)
    if draft.data is None:
        return None, wrong | {"data": "is required, as json or as object"}
    if (size := len(draft.data.encode())) > MAX_DATA_BYTES:
        right = "store it elsewhere and send where it is"
        return None, wrong | {"data": f"{size:,} bytes, more than {MAX_DATA_BYTES:,}; {right}"}
    try:
        value = orjson.loads(draft.data)
    except orjson.JSONDecodeError as error:
        return None, wrong | {"data": f"not JSON: {error}"}
    wrong |= _mistakes_in(value, schema, size)
    if wrong:
        return None, wrong
    try:
        said = _canonical(draft, value)
    except orjson.JSONEncodeError:
        # What is written may be less deep than what is read.
        return None, {"data": _TOO_DEEP}
    content_hash = hashlib.sha256(said).digest() if draft.idempotency_key else b""
    return Payload(value=value, size=size, content_hash=content_hash), wrong


def _mistakes_around(draft: Draft) -> dict[str, str]:
    key, priority, wrong = draft.idempotency_key, draft.priority, {}
    if key and (len(key.encode()) > MAX_KEY_BYTES or "\0" in key):
        wrong["idempotency_key"] = f"must be up to {MAX_KEY_BYTES} bytes, none of them NUL"
    if priority is not None and not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        wrong["priority"] = f"must be -{MAX_PRIORITY} to {MAX_PRIORITY}"
    if not 0 <= draft.delay <= MAX_DELAY:
        wrong["delay"] = f"must be 0 to {MAX_DELAY:g} s, which are 365 days"
    return wrong


def _mistakes_in(value: Any, schema: EventSchema | None, size: int) -> dict[str, str]:
    if schema is None:
        return {} if isinstance(value, dict) else {"data": "must be a JSON object"}
    mistakes = schema.mistakes(value, every=size <= MAX_LISTED_BYTES)
    return {f"data{pointer}": right for pointer, right in mistakes.items()}


def _canonical(draft: Draft, value: Any) -> bytes:
    """Return what the caller said, not how: spaces and the order of keys make no difference."""
    match draft:
        case EventDraft():
            said = [draft.name, draft.version, value]
        case JobDraft():
            said = ["", draft.function, value]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
