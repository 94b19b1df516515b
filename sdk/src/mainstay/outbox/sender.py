"""Messages on the wire.

Not by `JobClient`, which takes payloads apart and writes them anew: a number of jsonb may have more
digits than a float of Python, and arrives with all of them.
"""

from collections.abc import Sequence

from mainstay.channel import Channel
from mainstay.context import RequestContext, new_request_id, use
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from mainstay.outbox.message import Kind, Message, Origin


class Sender:
    """Has the jobs service accept messages."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.JobServiceStub(channel.raw)

    async def send(self, messages: Sequence[Message]) -> None:
        """Have messages of one origin accepted, all or none: events, or a single job.

        Raises the MainstayError of the service. May be repeated, as every message has its key; that
        is for the relay to do, not for this call, during which the batch is held.
        """
        with use(_context(messages[0].origin)):
            if messages[0].kind is Kind.EVENT:
                events = [_event(message) for message in messages]
                request = pb.SendEventsRequest(events=events)
                await self._channel.unary(self._stub.SendEvents, request)
            else:
                (message,) = messages
                await self._channel.unary(self._stub.Enqueue, _enqueue(message))


def _context(origin: Origin) -> RequestContext:
    return RequestContext(
        request_id=origin.request_id or new_request_id(),
        tenant=origin.tenant,
        traceparent=origin.traceparent,
    )


def _event(message: Message) -> pb.Event:
    event = pb.Event(
        name=message.name,
        version=message.version,
        json=message.data,
        idempotency_key=message.idempotency_key,
    )
    _say_when(event, message)
    return event


def _enqueue(message: Message) -> pb.EnqueueRequest:
    request = pb.EnqueueRequest(
        function=message.name, json=message.data, idempotency_key=message.idempotency_key
    )
    _say_when(request, message)
    return request


def _say_when(request: pb.Event | pb.EnqueueRequest, message: Message) -> None:
    if message.priority is not None:
        request.priority = message.priority
    if message.delay is not None:
        request.delay.FromMicroseconds(round(message.delay * 1e6))
