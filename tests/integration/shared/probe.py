"""Servicers that do what a request asks for, inside a real service on a free port.

The namespace of `CacheService.Get` (the job id of `WatchJob`, the worker's name of `Session`) names
an act; the key (the revision, the credit) is its argument.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.cache.v1 import cache_service_pb2_grpc as cache_grpc
from mainstay.channel import Channel
from mainstay.credentials import Credentials
from mainstay.errors import error_types
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import job_service_pb2_grpc as job_grpc
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as worker_grpc
from shared.config import CommonSettings
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy
from shared.service import Service
from tests.unit.sdk.example_errors import example

PLANTED = "planted: the password of the database is hunter2"
UNBOUNDED = MethodPolicy(default_deadline=float("inf"), max_deadline=float("inf"))


class Acts:
    """What the servicers of one service do, and what happened to them."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.entered = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self.left = asyncio.Semaphore(0)
        self.how: list[str] = []
        self.seen: list[dict[str, Any]] = []
        self.closed_properly: list[bool] = []

    async def perform(self, act: str, argument: str) -> bytes:
        """Do one act and return what it found."""
        call = current_call()._asdict()
        self.seen.append(call)
        match act:
            case "call":
                return json.dumps(call | {"remaining": current_call().remaining()}).encode()
            case "raise":
                raise example({kind.__name__: kind for kind in error_types()}[argument])
            case "crash":
                raise RuntimeError(PLANTED)
            case "cancel-itself":
                raise asyncio.CancelledError
            case "hold":
                await self._hold()
            case "hold-then-fail":
                try:
                    await self._hold()
                finally:
                    raise KeyError(PLANTED)
            case "onward":
                return await self._call_onward(argument)
            case "onward-briefly":
                return await self._call_onward(argument, timeout=0.1)
        return b""

    async def _hold(self) -> None:
        """Wait to be released, and remember how the wait ended."""
        self.entered.release()
        how = "cancelled"
        try:
            await self.release.wait()
            how = "released"
        finally:
            self.how.append(how)
            self.left.release()

    async def _call_onward(self, argument: str, **more: Any) -> bytes:
        assert self.channel is not None
        stub = cache_grpc.CacheServiceStub(self.channel.raw)
        namespace, _, key = argument.partition("/")
        request = cache_pb.GetRequest(namespace=namespace, key=key)
        return (await self.channel.unary(stub.Get, request, **more)).hit.value


class CacheProbe(cache_grpc.CacheServiceServicer):
    """Every method is `Get` under another policy."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def Get(self, request: cache_pb.GetRequest, context: object) -> cache_pb.GetResponse:
        value = await self._acts.perform(request.namespace, request.key)
        return cache_pb.GetResponse(hit=cache_pb.Entry(value=value))

    async def Set(self, request: cache_pb.SetRequest, context: object) -> cache_pb.SetResponse:
        await self._acts.perform(request.namespace, request.key)
        return cache_pb.SetResponse(version=1)

    async def Delete(
        self, request: cache_pb.DeleteRequest, context: object
    ) -> cache_pb.DeleteResponse:
        await self._acts.perform(request.namespace, request.key)
        return cache_pb.DeleteResponse(existed=True)

    async def BatchGet(
        self, request: cache_pb.BatchGetRequest, context: object
    ) -> cache_pb.BatchGetResponse:
        await self._acts.perform(request.namespace, "")
        return cache_pb.BatchGetResponse()


def make_cache_probe(acts: Acts) -> CacheProbe:
    """Return one; the methods it lacks answer as methods that are not written yet."""
    return CacheProbe(acts)  # type: ignore[abstract]


def make_job_probe(acts: Acts) -> job_grpc.JobServiceServicer:
    """Return a probe that leaves the methods that no test needs unimplemented."""
    return JobProbe(acts)  # type: ignore[abstract]


class JobProbe(job_grpc.JobServiceServicer):
    """Watching a job streams as many states as `after_revision` asks for, then acts."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def SendEvents(
        self, request: job_pb.SendEventsRequest, context: object
    ) -> job_pb.SendEventsResponse:
        return job_pb.SendEventsResponse()

    async def GetJob(self, request: job_pb.GetJobRequest, context: object) -> job_pb.GetJobResponse:
        await self._acts.perform(request.job_id, "")
        return job_pb.GetJobResponse()

    async def WatchJob(
        self, request: job_pb.WatchJobRequest, context: object
    ) -> AsyncIterator[job_pb.WatchJobResponse]:
        act, _, argument = request.job_id.partition("/")
        task = asyncio.current_task()
        try:
            for revision in range(request.after_revision):
                yield job_pb.WatchJobResponse(job=job_pb2.Job(revision=revision + 1))
            found = await self._acts.perform(act, argument)
            yield job_pb.WatchJobResponse(job=job_pb2.Job(result_json=found.decode()))
        finally:
            self._acts.closed_properly.append(asyncio.current_task() is task)


class WorkerProbe(worker_grpc.WorkerServiceServicer):
    """A session answers every hello with what its act found, and says goodbye at the end."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def Session(
        self, request_iterator: AsyncIterator[worker_pb.SessionRequest], context: object
    ) -> AsyncIterator[worker_pb.SessionResponse]:
        async for request in request_iterator:
            act, _, argument = request.hello.worker.partition("/")
            found = await self._acts.perform(act, argument)
            yield worker_pb.SessionResponse(welcome=worker_pb.Welcome(session=found))
        yield worker_pb.SessionResponse(go_away=worker_pb.GoAway(reason="end of stream"))


class Probe:
    """A service with the three servicers, and a channel to it."""

    def __init__(self, service: Service, acts: Acts, channel: Channel) -> None:
        self.service = service
        self.acts = acts
        self.channel = channel
        self.cache = cache_grpc.CacheServiceStub(channel.raw)
        self.jobs = job_grpc.JobServiceStub(channel.raw)
        self.workers = worker_grpc.WorkerServiceStub(channel.raw)

    async def get(self, act: str, argument: str = "", **more: Any) -> cache_pb.GetResponse:
        """Ask for an act through the SDK's channel."""
        request = cache_pb.GetRequest(namespace=act, key=argument)
        return await self.channel.unary(self.cache.Get, request, **more)

    def raw(self, path: str, kind: str = "unary_unary") -> Any:
        """Return a method that takes and gives bytes."""
        return getattr(self.channel.raw, kind)(path)

    async def call(self, **more: Any) -> dict[str, Any]:
        """Return what the servicer knew of this call."""
        found: dict[str, Any] = json.loads((await self.get("call", **more)).hit.value)
        return found


CACHE_METHODS = tuple(cache_pb.DESCRIPTOR.services_by_name["CacheService"].methods_by_name)
POLICIES = {
    **dict.fromkeys(CACHE_METHODS, MethodPolicy()),
    "Get": MethodPolicy(default_deadline=5.0, max_deadline=60.0),
    "Set": MethodPolicy(default_deadline=0.1, max_deadline=0.2),
    "Delete": MethodPolicy(wildcard_tenant=True),
    "BatchGet": MethodPolicy(quiet=True),
}


def _policies(service: str, **own: MethodPolicy) -> dict[str, MethodPolicy]:
    """Return a policy for every method of a service of the jobs' contracts."""
    contract = {"JobService": job_pb, "WorkerService": worker_pb}[service]
    methods = contract.DESCRIPTOR.services_by_name[service].methods_by_name
    return {name: own.get(name, MethodPolicy()) for name in methods}


@asynccontextmanager
async def probe_service(
    *, traced: bool = False, credentials: Credentials | None = None, **settings: Any
) -> AsyncIterator[Probe]:
    """Run a service with the probes within a block; `credentials` are its channel's."""
    chosen: dict[str, Any] = {"shutdown_grace": 1.0, **settings}
    service = Service("probe", CommonSettings(**chosen), port=0, ops_port=0, traced=traced)
    acts = Acts()
    service.expose(cache_grpc.add_CacheServiceServicer_to_server, make_cache_probe(acts), POLICIES)
    service.expose(
        job_grpc.add_JobServiceServicer_to_server,
        make_job_probe(acts),
        _policies("JobService", GetJob=MethodPolicy(waits=True), WatchJob=UNBOUNDED),
    )
    service.expose(
        worker_grpc.add_WorkerServiceServicer_to_server,
        WorkerProbe(acts),  # type: ignore[abstract]
        _policies("WorkerService", Session=UNBOUNDED),
    )
    async with (
        service.running(),
        Channel(service.address, credentials=credentials) as channel,
    ):
        acts.channel = channel
        yield Probe(service, acts, channel)
