"""The methods of the client that start jobs."""

import uuid
from collections.abc import Mapping, Sequence

from mainstay.errors import QueueFullError
from mainstay.jobs.calls import Calls
from mainstay.jobs.conversions import duration, payload, whole
from mainstay.jobs.durations import Duration
from mainstay.jobs.job_messages import parse_accepted
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.model import AcceptedEvent, EnqueuedJob, Event
from mainstay.jobs.v1 import job_service_pb2 as pb

# Its delay is for the caller to wait, who may have something better to do.
_NOT_WAITED_FOR = (QueueFullError,)


class Sending(Calls):
    """Sends events, and enqueues functions directly."""

    async def send_event(
        self,
        name: str,
        data: Mapping[str, JsonValue],
        *,
        version: int = 0,
        idempotency_key: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
    ) -> AcceptedEvent:
        """Send one event; as `send_events`."""
        event = Event(
            name=name,
            data=data,
            version=version,
            idempotency_key=idempotency_key,
            priority=priority,
            delay=delay,
        )
        (accepted,) = await self.send_events([event])
        return accepted

    async def send_events(self, events: Sequence[Event]) -> tuple[AcceptedEvent, ...]:
        """Have 1 to 100 events accepted, all or none, and start the jobs they trigger.

        The call is repeated on transient errors within its deadline. That is safe because every
        event has an idempotency key: the caller's, or a UUID made here for this call. Only the
        caller's own key makes a second call of this method safe.

        Raises ValidationError for a payload that breaks its schema or is no JSON, NotFoundError for
        an event without a schema, AlreadyExistsError for a key that was used with other content,
        QueueFullError with `retry_after` when a queue has no room, which is not repeated here.
        """
        request = pb.SendEventsRequest(
            events=[_event(event, index) for index, event in enumerate(events)]
        )
        response = await self._channel.unary(
            self._stub.SendEvents, request, retry=True, unless=_NOT_WAITED_FOR
        )
        return tuple(parse_accepted(event) for event in response.events)

    async def enqueue(
        self,
        function: str,
        data: Mapping[str, JsonValue],
        *,
        idempotency_key: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
    ) -> EnqueuedJob:
        """Start one job of one function, without an event.

        `priority` is from -100 to 100 and by default the function's; `delay` is how long the job
        has to wait, in seconds or as timedelta. Repeated on transient errors like `send_events`.
        Raises NotFoundError for a function that no worker has declared, and otherwise as
        `send_events`.
        """
        request = pb.EnqueueRequest(
            function=function,
            json=payload(data, f"data of {function}", "data"),
            idempotency_key=idempotency_key or str(uuid.uuid4()),
            priority=None if priority is None else whole(priority, "priority"),
            delay=duration(delay, "delay"),
        )
        response = await self._channel.unary(
            self._stub.Enqueue, request, retry=True, unless=_NOT_WAITED_FOR
        )
        return EnqueuedJob(job_id=response.job_id, duplicate=response.duplicate)


def _event(event: Event, index: int) -> pb.Event:
    at = f"events[{index}]"
    return pb.Event(
        name=event.name,
        version=whole(event.version, f"{at}.version", least=0),
        json=payload(event.data, f"data of event {event.name}", f"{at}.data"),
        idempotency_key=event.idempotency_key or str(uuid.uuid4()),
        priority=None if event.priority is None else whole(event.priority, f"{at}.priority"),
        delay=duration(event.delay, f"{at}.delay"),
    )
