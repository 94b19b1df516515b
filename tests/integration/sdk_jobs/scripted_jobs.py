"""A jobs service for producers and watchers that answers as a test says, over real gRPC."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class End:
    """Ends a call with this status."""

    code: grpc.StatusCode
    details: str = ""


class ScriptedJobs(pb_grpc.JobServiceServicer):
    """Answers call after call from scripts, and keeps the requests."""

    def __init__(self) -> None:
        self.address = ""
        self.watches: list[pb.WatchJobRequest] = []
        self.sends: list[pb.SendEventsRequest] = []
        self.watch_script: list[Sequence[pb.Job | End]] = []
        self.send_script: list[End | Callable[[], pb.SendEventsResponse]] = []
        self.job = pb.Job()

    async def SendEvents(
        self, request: pb.SendEventsRequest, context: Context
    ) -> pb.SendEventsResponse:
        """Answer from the script."""
        self.sends.append(request)
        answer = self.send_script.pop(0)
        if isinstance(answer, End):
            await context.abort(answer.code, answer.details)
        return answer()

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """Return the job."""
        return pb.GetJobResponse(job=self.job)

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        """Stream from the script."""
        self.watches.append(request)
        for answer in self.watch_script.pop(0):
            if isinstance(answer, End):
                await context.abort(answer.code, answer.details)
            else:
                yield pb.WatchJobResponse(job=answer)


@asynccontextmanager
async def scripted_jobs_service() -> AsyncIterator[ScriptedJobs]:
    """Serve on a free port within the block."""
    service = ScriptedJobs()
    server = grpc.aio.server()
    pb_grpc.add_JobServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
