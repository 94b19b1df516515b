"""CancelJob, RetryJob, SignalJob, ReplayDeadLetters, DiscardDeadLetters: parse, call, format."""

from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs import formatting, job_parsing
from services.jobs.parsing import job_id_from
from services.jobs.steering import Steering
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "CancelJob": MethodPolicy(),
    "RetryJob": MethodPolicy(),
    "SignalJob": MethodPolicy(roomy=frozenset({"data_json"})),
    "ReplayDeadLetters": MethodPolicy(),
    "DiscardDeadLetters": MethodPolicy(),
}


class SteeringMethods:
    """The methods of those who steer jobs."""

    steering: Steering

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: object
    ) -> pb.CancelJobResponse:
        job = await self.steering.cancel(
            current_call().tenant,
            job_id_from(request.job_id),
            reason=job_parsing.reason_from(request.reason),
            rollback=request.rollback,
        )
        return pb.CancelJobResponse(job=formatting.job(job))

    async def RetryJob(self, request: pb.RetryJobRequest, context: object) -> pb.RetryJobResponse:
        job = await self.steering.retry(current_call().tenant, job_id_from(request.job_id))
        return pb.RetryJobResponse(job=formatting.job(job))

    async def SignalJob(
        self, request: pb.SignalJobRequest, context: object
    ) -> pb.SignalJobResponse:
        job_id = job_id_from(request.job_id)
        name, data = job_parsing.signal_from(request)
        await self.steering.signal(current_call().tenant, job_id, name=name, data=data)
        return pb.SignalJobResponse()

    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: object
    ) -> pb.ReplayDeadLettersResponse:
        chosen = await self.steering.replay(current_call().tenant, job_parsing.wanted_from(request))
        return pb.ReplayDeadLettersResponse(job_ids=map(str, chosen.jobs), more=chosen.more)

    async def DiscardDeadLetters(
        self, request: pb.DiscardDeadLettersRequest, context: object
    ) -> pb.DiscardDeadLettersResponse:
        chosen = await self.steering.discard(
            current_call().tenant, job_parsing.wanted_from(request)
        )
        return pb.DiscardDeadLettersResponse(job_ids=map(str, chosen.jobs), more=chosen.more)
