"""Accepting events and requests for jobs: checked, and once for each idempotency key."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from mainstay.errors import NotFoundError, ValidationError
from services.jobs import metrics, payload
from services.jobs.acceptance import function_not_found
from services.jobs.event import AcceptedEvent, EventDraft, JobDraft, NewCall, NewEvent, Origin
from services.jobs.function import NAME
from services.jobs.job import EventId
from services.jobs.schemas import MAX_MISTAKES, EventSchema
from shared.rpc.call import Tenant

MAX_EVENTS = 100
MAX_LOGGED_IDS = 10
_MAX_SHOWN = 100

Version = tuple[str, int]
"""An event's name and version; 0 is the newest."""

log = structlog.get_logger()


class SchemaFinder(Protocol):
    """Knows the contracts of events."""

    async def find_all(
        self, tenant: Tenant, wanted: Collection[Version]
    ) -> Mapping[Version, EventSchema]:
        """Return those of the contracts that the tenant has."""
        ...

    async def known_names(self, tenant: Tenant) -> Sequence[str]:
        """Return the names of all events that have one."""
        ...


class Accepting(Protocol):
    """Stores what a call asks for."""

    async def accept(self, call: NewCall) -> tuple[AcceptedEvent, ...]:
        """Return what became of the call's events."""
        ...


class FunctionDirectory(Protocol):
    """Knows what workers have declared."""

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Return whether a function can be started for a tenant."""
        ...


class EventIntake:
    """The use case behind SendEvents and Enqueue."""

    def __init__(
        self,
        schemas: SchemaFinder,
        accepting: Accepting,
        functions: FunctionDirectory,
        new_id: Callable[[], EventId],
    ) -> None:
        self._schemas = schemas
        self._accepting = accepting
        self._functions = functions
        self._new_id = new_id

    async def send(self, origin: Origin, drafts: Sequence[EventDraft]) -> tuple[AcceptedEvent, ...]:
        """Accept all events or none.

        Raises ValidationError with the JSON pointer of everything wrong, NotFoundError for an
        event without a schema, AlreadyExistsError for a key that named something else before,
        QueueFullError.
        """
        events = await self._check(origin.tenant, drafts)
        accepted = await self._accepting.accept(NewCall(origin=origin, events=events))
        _note(drafts, accepted)
        return accepted

    async def enqueue(self, origin: Origin, draft: JobDraft) -> AcceptedEvent:
        """Start one job of one function.

        Raises ValidationError, NotFoundError for a function that no worker has declared,
        AlreadyExistsError and QueueFullError as `send` does.
        """
        read, wrong = payload.read(draft, None)
        if read is None:
            raise _invalid("the request is not valid", wrong)
        if not draft.function:
            raise _invalid("the request is not valid", {"function": "is required"})
        if not NAME.fullmatch(draft.function):
            raise function_not_found(draft.function)
        event = NewEvent(
            event_id=self._new_id(),
            name="",
            data=draft.data or "",
            size=read.size,
            value=read.value,
            idempotency_key=draft.idempotency_key,
            content_hash=read.content_hash,
            function=draft.function,
            priority=draft.priority,
            delay=draft.delay,
        )
        (accepted,) = await self._accepting.accept(NewCall(origin=origin, events=(event,)))
        _note((), (accepted,))
        return accepted

    async def check_event(self, tenant: Tenant, name: str, data: str) -> None:
        """Raise what sending such an event would be refused with."""
        draft = EventDraft(name=name, version=0, data=data, idempotency_key="")
        await self._check(tenant, [draft])

    async def check_job(self, tenant: Tenant, function: str, data: str) -> None:
        """Raise what asking for such a job would be refused with."""
        read, wrong = payload.read(JobDraft(function=function, data=data, idempotency_key=""), None)
        if read is None:
            raise _invalid("the request is not valid", wrong)
        known = NAME.fullmatch(function) and await self._functions.has_function(tenant, function)
        if not known:
            raise function_not_found(function)

    async def _check(self, tenant: Tenant, drafts: Sequence[EventDraft]) -> tuple[NewEvent, ...]:
        if not 1 <= len(drafts) <= MAX_EVENTS:
            raise ValidationError(
                f"{len(drafts)} events in one call; send 1 to {MAX_EVENTS}",
                fields={"events": f"must be 1 to {MAX_EVENTS}"},
            )
        wanted = {(draft.name, draft.version) for draft in drafts}
        schemas = await self._schemas.find_all(tenant, wanted)
        wrong: dict[str, str] = {}
        events = []
        for number, draft in enumerate(drafts):
            schema = schemas.get((draft.name, draft.version))
            if schema is None:
                raise await self._no_schema(tenant, draft, number)
            read, mistakes = payload.read(draft, schema)
            if read is not None:
                events.append(self._event(draft, read))
                continue
            wrong |= {f"events[{number}].{field}": right for field, right in mistakes.items()}
            if len(wrong) >= MAX_MISTAKES:
                # More than anybody corrects at once; looking for others would hold up everybody.
                break
        if wrong:
            raise _invalid("the events do not fit their schemas", wrong)
        return tuple(events)

    def _event(self, draft: EventDraft, read: payload.Payload) -> NewEvent:
        return NewEvent(
            event_id=self._new_id(),
            name=draft.name,
            data=draft.data or "",
            size=read.size,
            value=read.value,
            idempotency_key=draft.idempotency_key,
            content_hash=read.content_hash,
            priority=draft.priority,
            delay=draft.delay,
        )

    async def _no_schema(self, tenant: Tenant, draft: EventDraft, number: int) -> NotFoundError:
        name = draft.name[:_MAX_SHOWN]
        version = f" version {draft.version}" if draft.version else ""
        known = ", ".join(await self._schemas.known_names(tenant))
        return NotFoundError(
            f"events[{number}]: no schema for event {name!r}{version}; known: {known}",
            resource_type="event schema",
            resource_name=name,
            reason="EVENT_SCHEMA_NOT_FOUND",
        )


def _invalid(what: str, wrong: Mapping[str, str]) -> ValidationError:
    first = min(wrong)
    return ValidationError(f"{what}: {first} {wrong[first]}", fields=wrong)


def _note(drafts: Sequence[EventDraft], accepted: Sequence[AcceptedEvent]) -> None:
    fresh = [event for event in accepted if not event.duplicate]
    outcomes = Counter(
        (draft.name, "duplicate" if event.duplicate else "accepted")
        for draft, event in zip(drafts, accepted, strict=False)
    )
    for (name, outcome), count in outcomes.items():
        metrics.events.labels(metrics.event_names.of(name), outcome).inc(count)
    jobs = [str(job_id) for event in fresh for job_id in event.job_ids]
    log.info("events_accepted", events=len(fresh), jobs=len(jobs), job_ids=jobs[:MAX_LOGGED_IDS])
