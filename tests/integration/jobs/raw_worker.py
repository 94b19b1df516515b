"""A worker made of raw frames: it says exactly what a test tells it to say, and nothing else."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from mainstay.errors import ValidationError
from mainstay.errors_wire import translate
from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as pb_grpc

PATIENCE = 10.0
"""Longest wait for a frame; a test that waits longer has failed."""


def seconds(value: float) -> Duration:
    """Return a duration."""
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


def function(
    name: str = "process-video",
    trigger: str = "video/upload.completed",
    *,
    max_attempts: int = 3,
    backoff: float = 0.0,
) -> function_pb2.FunctionDefinition:
    """Declare a function; without a backoff its retries are ready at once."""
    return function_pb2.FunctionDefinition(
        name=name,
        trigger=trigger,
        max_attempts=max_attempts,
        initial_backoff=seconds(backoff),
        max_backoff=seconds(backoff),
    )


class RawWorker:
    """One stream of a session. Frames of the service are sorted by kind as they arrive."""

    def __init__(self, channel: grpc.aio.Channel, tenant: str) -> None:
        self._call: Any = pb_grpc.WorkerServiceStub(channel).Session(
            metadata=(("x-mainstay-tenant", tenant), ("x-request-id", "worker-stream"))
        )
        self._frames: dict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._sequences: dict[bytes, itertools.count[int]] = {}
        self._ended = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self._reading: asyncio.Task[None] | None = None
        self._jobs: list[pb.AssignedJob] = []
        self.welcome = pb.Welcome()

    async def send(self, **frame: Any) -> None:
        """Send one frame of the kind that is named."""
        await self._call.write(pb.SessionRequest(**frame))

    async def hello(
        self,
        *functions: function_pb2.FunctionDefinition,
        worker: str = "raw-1",
        resume: bytes = b"",
        in_flight: Sequence[bytes] = (),
    ) -> pb.Welcome:
        """Open the session and return its Welcome."""
        await self.send(
            hello=pb.Hello(
                worker=worker,
                functions=functions or (function(),),
                resume_session=resume,
                in_flight_tokens=in_flight,
            )
        )
        self._reading = asyncio.create_task(self._read())
        self.welcome = await self.next("welcome")
        return self.welcome

    async def _read(self) -> None:
        try:
            async for frame in self._call:
                kind = frame.WhichOneof("frame")
                self._frames[kind].put_nowait(getattr(frame, kind))
                await self._reads.wait()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass  # told by `end`
        finally:
            self._ended.set()

    def stop_reading(self) -> None:
        """Take nothing from the stream any more, so that it fills up."""
        self._reads.clear()

    async def next(self, kind: str) -> Any:
        """Return the next frame of a kind; raises what the stream ended with, or TimeoutError."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(PATIENCE):
            getting = asyncio.create_task(self._frames[kind].get())
            ended = asyncio.create_task(self._ended.wait())
            try:
                await asyncio.wait({getting, ended}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
                code = await self._call.code()
                raise ConnectionError(f"the stream ended with {code}: {await self._call.details()}")
            finally:
                getting.cancel()
                ended.cancel()

    def frames(self, kind: str) -> int:
        """Return how many frames of a kind have arrived and were not taken."""
        return self._frames[kind].qsize()

    async def credit(self, jobs: int) -> None:
        """Ask for jobs."""
        await self.send(credit=pb.Credit(jobs=jobs))

    async def job(self) -> pb.AssignedJob:
        """Return the next job."""
        while not self._jobs:
            self._jobs.extend((await self.next("jobs")).jobs)
        return self._jobs.pop(0)

    async def take(self, jobs: int = 1) -> list[pb.AssignedJob]:
        """Ask for so many jobs and return them."""
        await self.credit(jobs)
        return [await self.job() for _ in range(jobs)]

    async def take_one(self) -> pb.AssignedJob:
        """Ask for a job and return it."""
        (job,) = await self.take()
        return job

    async def report(self, token: bytes, *, sequence: int | None = None, **news: Any) -> pb.Ack:
        """Report one thing and return the answer."""
        (ack,) = await self.report_all(self.make_report(token, sequence=sequence, **news))
        return ack

    def make_report(self, token: bytes, *, sequence: int | None = None, **news: Any) -> pb.Report:
        """Return a report with the token's next sequence, or a certain one."""
        numbers = self._sequences.setdefault(token, itertools.count(1))
        number = next(numbers) if sequence is None else sequence
        return pb.Report(token=token, sequence=number, **news)

    async def report_all(self, *reports: pb.Report) -> list[pb.Ack]:
        """Send reports in one batch and return the answers."""
        await self.send(reports=pb.ReportBatch(reports=reports))
        return list((await self.next("acks")).acks)

    async def step(self, token: bytes, key: str, result: str = "1") -> pb.Ack:
        """Report a step."""
        return await self.report(
            token, step_completed=pb.StepCompleted(key=key, result_json=result)
        )

    async def complete(self, token: bytes, result: str = "null") -> pb.Ack:
        """Report the end of a job."""
        return await self.report(token, completed=pb.Completed(result_json=result))

    async def fail(self, token: bytes, **failure: Any) -> pb.Ack:
        """Report a failure."""
        facts = {"kind": "ValueError", "message": "no good", **failure}
        return await self.report(token, failed=pb.Failed(**facts))

    async def release(self, token: bytes) -> pb.Ack:
        """Give a job back."""
        return await self.report(token, released=pb.Released())

    async def beat(self, *tokens: bytes) -> list[bytes]:
        """Send a heartbeat and return the tokens that are lost."""
        return list((await self.heartbeat(*tokens)).lost_tokens)

    async def heartbeat(self, *tokens: bytes, idle: float = 0.0) -> pb.HeartbeatAck:
        """Send a heartbeat, with jobs that have not moved for so many seconds, if any."""
        jobs = [pb.JobBeat(token=token, idle=seconds(idle)) for token in tokens if idle]
        await self.send(heartbeat=pb.Heartbeat(tokens=tokens, jobs=jobs))
        answer: pb.HeartbeatAck = await self.next("heartbeat")
        return answer

    async def wait_for(self, token: bytes, key: str, **wait: Any) -> pb.Ack:
        """Report that a step has begun to wait for something."""
        return await self.report(token, wait_begun=pb.WaitBegun(key=key, **wait))

    async def suspend(self, token: bytes, *keys: str) -> pb.Ack:
        """Report that there is nothing to do before one of the steps is done."""
        return await self.report(token, suspended=pb.Suspended(keys=keys))

    async def undo(self, token: bytes, key: str) -> pb.Ack:
        """Report that a step was undone."""
        return await self.report(token, step_compensated=pb.StepCompensated(key=key))

    async def directive(self) -> pb.Directive:
        """Return the next directive that comes by itself."""
        (directive,) = (await self.next("directives")).directives
        told: pb.Directive = directive
        return told

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Wait until the service has ended the stream and return how."""
        async with asyncio.timeout(PATIENCE):
            return await self._call.code(), await self._call.details()

    async def wrong_fields(self) -> dict[str, str]:
        """Wait until the service has refused something and return the fields it names."""
        async with asyncio.timeout(PATIENCE):
            code, details = await self._call.code(), await self._call.details()
            trailing = await self._call.trailing_metadata()
        error = translate(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details))
        assert isinstance(error, ValidationError), error
        return error.fields

    async def say_goodbye(self) -> None:
        """End the worker's half of the stream and wait for the other."""
        await self._call.done_writing()
        await self.end()

    async def cut(self) -> None:
        """Break the stream, as a connection that is lost does."""
        self._call.cancel()
        self._reads.set()
        if self._reading is not None:
            await asyncio.wait({self._reading})


class Workers:
    """Connects raw workers to services and breaks their streams at the end."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._workers: list[RawWorker] = []

    def stream(self, address: str, *, tenant: str = "acme") -> RawWorker:
        """Open a stream without saying anything."""
        channel = self._channels.get(address) or grpc.aio.insecure_channel(address)
        self._channels[address] = channel
        worker = RawWorker(channel, tenant)
        self._workers.append(worker)
        return worker

    async def connect(
        self,
        address: str,
        *functions: function_pb2.FunctionDefinition,
        tenant: str = "acme",
        **hello: Any,
    ) -> RawWorker:
        """Open a session."""
        worker = self.stream(address, tenant=tenant)
        await worker.hello(*functions, **hello)
        return worker

    async def close(self) -> None:
        """Break everything."""
        for worker in self._workers:
            await worker.cut()
        for channel in self._channels.values():
            await channel.close()


@asynccontextmanager
async def raw_workers() -> AsyncIterator[Workers]:
    """Provide workers within the block."""
    workers = Workers()
    try:
        yield workers
    finally:
        await workers.close()
