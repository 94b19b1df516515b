"""Accepting events: checked against their schemas, once for each idempotency key."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog

from mainstay.errors import NotFoundError, ValidationError
from services.jobs import metrics
from services.jobs.event import AcceptedEvent, EventDraft, NewEvent, Origin
from services.jobs.job import EventId
from services.jobs.ports import EventStore
from services.jobs.schemas import MAX_MISTAKES, EventSchema, EventSchemas
from services.jobs.wakeups import Change, Wakeups

MAX_EVENTS = 100
MAX_DATA_BYTES = 1024 * 1024
MAX_LISTED_BYTES = 64 * 1024
"""Of a payload up to this size all mistakes are looked for, of a larger one only the first."""
MAX_KEY_BYTES = 200
MAX_LOGGED_IDS = 10

log = structlog.get_logger()


class EventIntake:
    """The use case behind SendEvents."""

    def __init__(
        self,
        schemas: EventSchemas,
        store: EventStore,
        wakeups: Wakeups,
        new_id: Callable[[], EventId],
    ) -> None:
        self._schemas = schemas
        self._store = store
        self._wakeups = wakeups
        self._new_id = new_id

    async def send(self, origin: Origin, drafts: Sequence[EventDraft]) -> list[AcceptedEvent]:
        """Accept all events or none.

        Raises ValidationError with the JSON pointer of everything wrong, NotFoundError for an
        event without a schema, AlreadyExistsError for a key that named another event before.
        """
        events = self._check(drafts)
        accepted = await self._store.accept(origin, events)
        fresh = [event for event in accepted if not event.duplicate]
        jobs = frozenset(job_id for event in fresh for job_id in event.job_ids)
        if jobs:
            self._wakeups.announce(Change(work=True))
        for draft, event in zip(drafts, accepted, strict=True):
            outcome = "duplicate" if event.duplicate else "accepted"
            metrics.events.labels(draft.name, outcome).inc()
        log.info(
            "events_accepted",
            events=len(fresh),
            jobs=len(jobs),
            job_ids=[str(job_id) for job_id in sorted(jobs)[:MAX_LOGGED_IDS]],
        )
        return accepted

    def _check(self, drafts: Sequence[EventDraft]) -> list[NewEvent]:
        if not 1 <= len(drafts) <= MAX_EVENTS:
            raise ValidationError(
                f"{len(drafts)} events in one call; send 1 to {MAX_EVENTS}",
                fields={"events": f"must be 1 to {MAX_EVENTS}"},
            )
        wrong: dict[str, str] = {}
        events = []
        for number, draft in enumerate(drafts):
            schema = self._schema(draft, number)
            content_hash, mistakes = _check_draft(draft, schema)
            wrong |= {f"events[{number}].{field}": right for field, right in mistakes.items()}
            if len(wrong) >= MAX_MISTAKES:
                # More than anybody corrects at once; looking for others would hold up everybody.
                break
            if not mistakes:
                events.append(self._accept_draft(draft, schema, content_hash))
        if wrong:
            first = min(wrong)
            raise ValidationError(
                f"the events do not fit their schemas: {first} {wrong[first]}", fields=wrong
            )
        return events

    def _schema(self, draft: EventDraft, number: int) -> EventSchema:
        schema = self._schemas.find(draft.name, draft.version)
        if schema is not None:
            return schema
        version = f" version {draft.version}" if draft.version else ""
        known = ", ".join(self._schemas.names)
        raise NotFoundError(
            f"events[{number}]: no schema for event {draft.name[:100]!r}{version}; known: {known}",
            resource_type="event schema",
            resource_name=draft.name[:100],
            reason="EVENT_SCHEMA_NOT_FOUND",
        )

    def _accept_draft(
        self, draft: EventDraft, schema: EventSchema, content_hash: bytes
    ) -> NewEvent:
        return NewEvent(
            event_id=self._new_id(),
            name=schema.name,
            version=schema.version,
            data=draft.data or "",
            idempotency_key=draft.idempotency_key,
            content_hash=content_hash,
        )


def _check_draft(draft: EventDraft, schema: EventSchema) -> tuple[bytes, dict[str, str]]:
    """Return the hash of the content, and what is wrong: field → what would be right."""
    key = draft.idempotency_key
    wrong = {}
    if len(key.encode()) > MAX_KEY_BYTES or "\0" in key:
        wrong["idempotency_key"] = f"must be up to {MAX_KEY_BYTES} bytes, none of them NUL"
    if draft.data is None:
        return b"", wrong | {"data": "is required, as json or as object"}
    if (size := len(draft.data.encode())) > MAX_DATA_BYTES:
        right = "store it elsewhere and send where it is"
        return b"", wrong | {"data": f"{size:,} bytes, more than {MAX_DATA_BYTES:,}; {right}"}
    try:
        data = orjson.loads(draft.data)
    except orjson.JSONDecodeError as error:
        return b"", wrong | {"data": f"not JSON: {error}"}
    mistakes = schema.mistakes(data, every=size <= MAX_LISTED_BYTES)
    wrong |= {f"data{pointer}": right for pointer, right in mistakes.items()}
    try:
        return _hash(draft, data), wrong
    except orjson.JSONEncodeError:
        # What is written may be less deep than what is read.
        return b"", wrong | {"data": "nested too deeply"}


def _hash(draft: EventDraft, data: Any) -> bytes:
    """Identify what the caller said, not how: spaces and the order of keys make no difference."""
    canonical = orjson.dumps([draft.name, draft.version, data], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).digest()
