"""Sends events and watches jobs with the raw stubs, in the name of a tenant."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc

from mainstay.errors_wire import translate
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from tests.integration.jobs.raw_worker import PATIENCE

VIDEO = {
    "video_id": "v-1",
    "creator_id": "c-1",
    "source_url": "https://media.example.com/v-1.mp4",
    "duration_seconds": 61.5,
}


def video_event(*, key: str = "", data: str = json.dumps(VIDEO), **fields: Any) -> pb.Event:
    """Return an event that fits its schema."""
    return pb.Event(name="video/upload.completed", json=data, idempotency_key=key, **fields)


class Watch:
    """A stream of a job's states."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self) -> job_pb2.Job:
        """Return the next state; raises what the stream ended with."""
        job = await self._read()
        assert job is not None, "the stream has ended"
        return job

    async def _read(self) -> job_pb2.Job | None:
        async with asyncio.timeout(PATIENCE):
            response = await self._call.read()
        told = isinstance(response, pb.WatchJobResponse | pb.WatchJobsResponse)
        return response.job if told else None

    async def until(self, state: job_pb2.JobState.ValueType) -> job_pb2.Job:
        """Return the first job that stands there."""
        while (job := await self.next()).state != state:
            pass
        return job

    async def rest(self) -> list[job_pb2.Job]:
        """Return every state until the service ends the stream."""
        jobs = []
        while (job := await self._read()) is not None:
            jobs.append(job)
        return jobs

    def cancel(self) -> None:
        """Stop watching."""
        self._call.cancel()


class Producer:
    """What a backend does with the jobs service."""

    def __init__(self, channel: grpc.aio.Channel, tenant: str) -> None:
        self._stub: Any = pb_grpc.JobServiceStub(channel)
        self._tenant = tenant
        self._watches: list[Watch] = []

    def _metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        return ("x-mainstay-tenant", self._tenant), ("x-request-id", request_id)

    async def send(
        self, *events: pb.Event, request_id: str = "req-1", metadata: Any = ()
    ) -> list[pb.AcceptedEvent]:
        """Send events; raises the error tree's errors."""
        request = pb.SendEventsRequest(events=events)
        headers = (*self._metadata(request_id), *metadata)
        try:
            response = await self._stub.SendEvents(request, metadata=headers, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error
        return list(response.events)

    async def start_job(self, event: pb.Event | None = None, **call: Any) -> str:
        """Send an event that starts one job and return the job's id."""
        (accepted,) = await self.send(event or video_event(), **call)
        (job_id,) = accepted.job_ids
        return job_id

    async def get(self, job_id: str) -> job_pb2.Job:
        """Return a job; raises the error tree's errors."""
        request = pb.GetJobRequest(job_id=job_id)
        try:
            response = await self._stub.GetJob(
                request, metadata=self._metadata("get"), timeout=PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error
        job: job_pb2.Job = response.job
        return job

    async def enqueue(
        self, request: pb.EnqueueRequest, *, request_id: str = "req-1"
    ) -> pb.EnqueueResponse:
        """Ask for a job of a function; raises the error tree's errors."""
        answer: pb.EnqueueResponse = await self.call("Enqueue", request, request_id=request_id)
        return answer

    async def call(self, method: str, request: Any, *, request_id: str = "call") -> Any:
        """Call any method; raises the error tree's errors."""
        try:
            return await getattr(self._stub, method)(
                request, metadata=self._metadata(request_id), timeout=PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error

    async def cancel(self, job_id: str, **fields: Any) -> job_pb2.Job:
        """Cancel a job."""
        answer = await self.call("CancelJob", pb.CancelJobRequest(job_id=job_id, **fields))
        job: job_pb2.Job = answer.job
        return job

    async def retry(self, job_id: str) -> job_pb2.Job:
        """Retry a dead letter."""
        job: job_pb2.Job = (await self.call("RetryJob", pb.RetryJobRequest(job_id=job_id))).job
        return job

    async def signal(self, job_id: str, name: str, data: str = "") -> None:
        """Send a signal to a job."""
        await self.call("SignalJob", pb.SignalJobRequest(job_id=job_id, name=name, data_json=data))

    def watch_many(self, seen: Mapping[str, int]) -> Watch:
        """Watch jobs on one stream, beyond the revisions that were seen."""
        request = pb.WatchJobsRequest(
            jobs=[pb.WatchJobRequest(job_id=job, after_revision=rev) for job, rev in seen.items()]
        )
        watch = Watch(self._stub.WatchJobs(request, metadata=self._metadata("watch")))
        self._watches.append(watch)
        return watch

    def watch(self, job_id: str, *, after: int = 0) -> Watch:
        """Watch a job."""
        request = pb.WatchJobRequest(job_id=job_id, after_revision=after)
        watch = Watch(self._stub.WatchJob(request, metadata=self._metadata("watch")))
        self._watches.append(watch)
        return watch

    async def reaches(self, job_id: str, state: job_pb2.JobState.ValueType) -> job_pb2.Job:
        """Wait until a job stands there and return it."""
        watch = self.watch(job_id)
        try:
            return await watch.until(state)
        finally:
            watch.cancel()

    def close(self) -> None:
        """End all watches."""
        for watch in self._watches:
            watch.cancel()


@asynccontextmanager
async def producer(address: str, tenant: str) -> AsyncIterator[Producer]:
    """Connect within the block."""
    async with grpc.aio.insecure_channel(address) as channel:
        connected = Producer(channel, tenant)
        try:
            yield connected
        finally:
            connected.close()
