"""Events on their way in: as they were sent, as they are stored, as they are answered."""

from dataclasses import dataclass

from services.jobs.job import EventId, JobId
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The call that sends events."""

    tenant: Tenant
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event as it was sent: version 0 is the newest, `data` JSON text or missing."""

    name: str
    version: int
    data: str | None
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that fits its schema and is to be stored."""

    event_id: EventId
    name: str
    version: int
    data: str
    idempotency_key: str
    content_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEvent:
    """What became of an event; `duplicate` when an earlier call had sent it."""

    event_id: EventId
    job_ids: tuple[JobId, ...]
    duplicate: bool
