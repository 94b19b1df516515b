"""SendEvents and Enqueue: parse, call, format."""

from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs import formatting, parsing
from services.jobs.event import Origin
from services.jobs.intake import EventIntake
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "SendEvents": MethodPolicy(roomy=frozenset({"events.json", "events.object"})),
    "Enqueue": MethodPolicy(roomy=frozenset({"json", "object"})),
}


class EventMethods:
    """The methods of those who start jobs."""

    intake: EventIntake

    async def SendEvents(
        self, request: pb.SendEventsRequest, context: object
    ) -> pb.SendEventsResponse:
        accepted = await self.intake.send(origin(), parsing.drafts_from(request))
        return formatting.accepted_events(accepted)

    async def Enqueue(self, request: pb.EnqueueRequest, context: object) -> pb.EnqueueResponse:
        accepted = await self.intake.enqueue(origin(), parsing.job_draft_from(request))
        return formatting.enqueued_job(accepted)


def origin() -> Origin:
    """Return the present call as the origin of what it starts."""
    call = current_call()
    return Origin(tenant=call.tenant, request_id=call.request_id, traceparent=call.traceparent)
