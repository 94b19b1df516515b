"""Queues, functions, workers, and why a job does not run: parse, call, format."""

from uuid import UUID

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs import formatting, parsing
from services.jobs.explaining import Hindrance, HindranceKind
from services.jobs.function_formatting import function_message
from services.jobs.job import SessionId
from services.jobs.queues import ConnectedWorker, Queue, Queues
from services.jobs.wire_times import duration, timestamp
from shared.pages import forged, page_key, page_size, page_token
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    # A caller for all tenants may hold back the queue of all.
    "PauseQueue": MethodPolicy(wildcard_tenant=True),
    "ResumeQueue": MethodPolicy(wildcard_tenant=True),
    "ListQueues": MethodPolicy(),
    "ListWorkers": MethodPolicy(),
    "ListFunctions": MethodPolicy(),
    "GetFunction": MethodPolicy(),
    "ExplainJob": MethodPolicy(),
}


class QueueMethods:
    """The methods of those who steer queues."""

    queues: Queues

    async def PauseQueue(
        self, request: pb.PauseQueueRequest, context: object
    ) -> pb.PauseQueueResponse:
        queue = await self.queues.set_paused(
            current_call().tenant, _name_from(request.name), paused=True
        )
        return pb.PauseQueueResponse(queue=_queue(queue))

    async def ResumeQueue(
        self, request: pb.ResumeQueueRequest, context: object
    ) -> pb.ResumeQueueResponse:
        queue = await self.queues.set_paused(
            current_call().tenant, _name_from(request.name), paused=False
        )
        return pb.ResumeQueueResponse(queue=_queue(queue))

    async def ListQueues(
        self, request: pb.ListQueuesRequest, context: object
    ) -> pb.ListQueuesResponse:
        size = page_size(request.page_size)
        key = page_key(request.page_token, str)
        found = await self.queues.list(current_call().tenant, str(key[0]) if key else "", size + 1)
        return pb.ListQueuesResponse(
            queues=[_queue(queue) for queue in found[:size]],
            next_page_token=page_token([found[size - 1].name]) if len(found) > size else "",
        )

    async def ListWorkers(
        self, request: pb.ListWorkersRequest, context: object
    ) -> pb.ListWorkersResponse:
        size = page_size(request.page_size)
        key = page_key(request.page_token, str, str)
        after = (str(key[0]), _session_id(str(key[1]))) if key else None
        found = await self.queues.workers(current_call().tenant, after, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = page_token([last.name, str(last.session_id)])
        return pb.ListWorkersResponse(
            workers=[_worker(worker) for worker in found[:size]], next_page_token=token
        )

    async def ListFunctions(
        self, request: pb.ListFunctionsRequest, context: object
    ) -> pb.ListFunctionsResponse:
        size = page_size(request.page_size)
        key = page_key(request.page_token, str)
        found = await self.queues.functions(
            current_call().tenant, str(key[0]) if key else "", size + 1
        )
        return pb.ListFunctionsResponse(
            functions=[function_message(function) for function in found[:size]],
            next_page_token=page_token([found[size - 1].name]) if len(found) > size else "",
        )

    async def GetFunction(
        self, request: pb.GetFunctionRequest, context: object
    ) -> pb.GetFunctionResponse:
        found = await self.queues.function(current_call().tenant, _name_from(request.name))
        return pb.GetFunctionResponse(
            function=function_message(found.definition),
            workers=found.workers,
            update_time=timestamp(found.update_time),
        )

    async def ExplainJob(
        self, request: pb.ExplainJobRequest, context: object
    ) -> pb.ExplainJobResponse:
        job_id = parsing.job_id_from(request.job_id)
        found = await self.queues.explain(current_call().tenant, job_id)
        job = formatting.job(found.job)
        job.ClearField("steps")
        return pb.ExplainJobResponse(
            job=job,
            hindrances=[_hindrance(hindrance) for hindrance in found.hindrances],
            ahead=found.ahead,
            estimated_start_time=timestamp(found.estimated_start),
            summary=found.summary,
        )


def _session_id(text: str) -> SessionId:
    try:
        return SessionId(UUID(text))
    except ValueError as error:
        raise forged() from error


def _hindrance(hindrance: Hindrance) -> pb.Hindrance:
    return pb.Hindrance(
        kind=_KINDS[hindrance.kind],
        message=hindrance.message,
        end_time=timestamp(hindrance.end_time),
    )


_KINDS = {kind: pb.HindranceKind.Value(f"HINDRANCE_KIND_{kind.name}") for kind in HindranceKind}


def _name_from(name: str) -> str:
    if not name or "\0" in name:
        raise ValidationError(
            "name is missing or has a NUL in it; name a function",
            fields={"name": "must be the name of a function"},
        )
    return name


def _queue(queue: Queue) -> job_pb2.Queue:
    return job_pb2.Queue(
        name=queue.name,
        ready=queue.ready,
        delayed=queue.delayed,
        running=queue.running,
        waiting=queue.waiting,
        oldest_age=duration(queue.oldest),
        paused=queue.paused,
        accepted_rate=queue.accepted_rate,
        ended_rate=queue.ended_rate,
        workers=queue.workers,
        dead_letters=queue.dead_letters,
    )


def _worker(worker: ConnectedWorker) -> job_pb2.Worker:
    return job_pb2.Worker(
        name=worker.name,
        functions=worker.functions,
        running=worker.running,
        lease_expire_time=timestamp(worker.lease_expire_time),
        create_time=timestamp(worker.create_time),
        tenant=worker.tenant,
    )
