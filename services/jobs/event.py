"""What starts jobs, on its way in: as it was sent, as it is accepted, as it is answered."""

from dataclasses import dataclass
from typing import Any

from services.jobs.job import EventId, JobId
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The call that starts jobs; `schedule` is the schedule whose tick does, or empty."""

    tenant: Tenant
    request_id: str
    traceparent: str
    schedule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event as it was sent: version 0 is the newest, `data` JSON text or missing.

    `priority` is None to leave it to the functions; `delay` is in seconds.
    """

    name: str
    version: int
    data: str | None
    idempotency_key: str
    priority: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraft:
    """A job as it was asked for, without an event; fields as in EventDraft."""

    function: str
    data: str | None
    idempotency_key: str
    priority: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that fits its schema, or a request for a job, and is to be accepted.

    Attributes:
        name: The event's; empty for a request.
        function: The only function it starts; empty for an event, which starts those it triggers.
        data: The payload as JSON text, `size` bytes of it, and `value` what it says.
        content_hash: Identifies what was said; empty without an idempotency key.

    """

    event_id: EventId
    name: str
    data: str
    size: int
    value: Any
    idempotency_key: str
    content_hash: bytes
    function: str = ""
    priority: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """What one call asks to accept, all or nothing."""

    origin: Origin
    events: tuple[NewEvent, ...]

    @property
    def size(self) -> int:
        """Return how many bytes the payloads take."""
        return sum(event.size for event in self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEvent:
    """What became of an event; `duplicate` when an earlier call had sent it."""

    event_id: EventId
    job_ids: tuple[JobId, ...]
    duplicate: bool
