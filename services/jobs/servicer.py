"""The two contracts of the jobs service: parse, call, format."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing

from mainstay.errors import DeadlineError, ValidationError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import job_service_pb2_grpc as job_grpc
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as worker_grpc
from services.jobs import formatting, parsing
from services.jobs.event import Origin
from services.jobs.frames import Hello
from services.jobs.intake import EventIntake
from services.jobs.session import WorkerStream
from services.jobs.sessions import Sessions
from services.jobs.watch import Watches
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

JOB_METHODS = {
    "SendEvents": MethodPolicy(),
    "GetJob": MethodPolicy(),
    # A watch without a deadline ends by itself: it may be for a job that nobody ever does.
    "WatchJob": MethodPolicy(default_deadline=3600.0, max_deadline=math.inf),
}
WORKER_METHODS = {
    "Session": MethodPolicy(default_deadline=math.inf, max_deadline=math.inf, wildcard_tenant=True),
}


class JobServicer(job_grpc.JobServiceServicer):
    """For those who start and watch jobs."""

    def __init__(self, intake: EventIntake, watches: Watches) -> None:
        self._intake = intake
        self._watches = watches

    async def SendEvents(
        self, request: job_pb.SendEventsRequest, context: object
    ) -> job_pb.SendEventsResponse:
        call = current_call()
        origin = Origin(
            tenant=call.tenant, request_id=call.request_id, traceparent=call.traceparent
        )
        accepted = await self._intake.send(origin, parsing.drafts_from(request))
        return formatting.accepted_events(accepted)

    async def GetJob(self, request: job_pb.GetJobRequest, context: object) -> job_pb.GetJobResponse:
        job_id = parsing.job_id_from(request.job_id)
        job = await self._watches.get(current_call().tenant, job_id)
        return job_pb.GetJobResponse(job=formatting.job(job))

    async def WatchJob(
        self, request: job_pb.WatchJobRequest, context: object
    ) -> AsyncIterator[job_pb.WatchJobResponse]:
        job_id = parsing.job_id_from(request.job_id)
        jobs = self._watches.follow(current_call().tenant, job_id, request.after_revision)
        async with aclosing(jobs):
            async for job in jobs:
                yield job_pb.WatchJobResponse(job=formatting.job(job))


class WorkerServicer(worker_grpc.WorkerServiceServicer):
    """For those who do jobs."""

    def __init__(self, sessions: Sessions, *, hello_timeout: float) -> None:
        self._sessions = sessions
        self._hello_timeout = hello_timeout

    async def Session(
        self, request_iterator: AsyncIterator[worker_pb.SessionRequest], context: object
    ) -> AsyncIterator[worker_pb.SessionResponse]:
        hello = await self._hello(request_iterator)
        stream, welcome = await self._sessions.open(current_call().tenant, hello)
        reading = asyncio.create_task(
            self._read(stream, request_iterator), name=f"read {stream.worker}"
        )
        try:
            yield formatting.frame(welcome)
            while (frame := await stream.next()) is not None:
                yield formatting.frame(frame)
        finally:
            reading.cancel()
            self._sessions.leave(stream)
            await asyncio.wait({reading})

    async def _hello(self, requests: AsyncIterator[worker_pb.SessionRequest]) -> Hello:
        try:
            async with asyncio.timeout(self._hello_timeout):
                return parsing.hello_from(await anext(requests))
        except TimeoutError as error:
            raise DeadlineError(
                f"no Hello within {self._hello_timeout:g} s; send it as soon as the stream is open"
            ) from error
        except StopAsyncIteration as error:
            raise ValidationError(
                "the stream ended before Hello", fields={"frame": "must be hello first"}
            ) from error

    async def _read(
        self, stream: WorkerStream, requests: AsyncIterator[worker_pb.SessionRequest]
    ) -> None:
        """Hear the worker until it has said everything; its mistakes end the stream."""
        try:
            async for request in requests:
                await self._sessions.receive(stream, parsing.frame_from(request))
            stream.finish()
        except Exception as error:  # noqa: BLE001 - passed on to the task that writes the stream
            stream.fail(error)
