"""What a function in memory sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mainstay.jobs.json_text import JsonValue, decode, encode
from mainstay.jobs.model import AcceptedEvent, Event


@dataclass(slots=True)
class SentEvents:
    """Keeps the events that a function sends, each once."""

    events: dict[str, Event] = field(default_factory=dict)

    async def send_event(
        self,
        name: str,
        data: Mapping[str, JsonValue],
        *,
        version: int = 0,
        idempotency_key: str | None = None,
    ) -> AcceptedEvent:
        """Keep the event."""
        key = idempotency_key or f"event-{len(self.events) + 1}"
        event = Event(
            name=name, data=decode(encode(data)), version=version, idempotency_key=idempotency_key
        )
        duplicate = self.events.setdefault(key, event) is not event
        number = list(self.events).index(key) + 1
        return AcceptedEvent(event_id=f"event-{number}", job_ids=(), duplicate=duplicate)
