"""A jobs service that says exactly what a test tells it to, over real gRPC.

For what the real service would have to be broken to do: lose acknowledgements, stay silent, fence.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as pb_grpc

PATIENCE = 10.0

Context = grpc.aio.ServicerContext[Any, Any]


class ScriptedStream:
    """The service's end of one stream, after Hello."""

    def __init__(self, hello: pb.Hello, context: Context) -> None:
        self.hello = hello
        self.metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
        self.frames: asyncio.Queue[pb.SessionRequest | None] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.status: tuple[grpc.StatusCode, str] | None = None
        self._context = context

    async def welcome(self, **fields: Any) -> None:
        """Answer Hello; beats and lease are long unless the test says otherwise."""
        welcome = pb.Welcome(session=b"session-1", **fields)
        if not welcome.HasField("heartbeat_interval"):
            welcome.heartbeat_interval.FromSeconds(10)
        if not welcome.HasField("lease"):
            welcome.lease.FromSeconds(30)
        await self.send(welcome=welcome)

    async def send(self, **frame: Any) -> None:
        """Send one frame."""
        await self._context.write(pb.SessionResponse(**frame))

    async def assign(self, *tokens: bytes, **fields: Any) -> None:
        """Hand out one job for each token."""
        jobs = [
            pb.AssignedJob(
                token=token,
                job_id=f"job-{token.decode()}",
                attempt=1,
                max_attempts=3,
                data_json="{}",
                request_id="request-1",
                tenant="acme",
                **{"function": "work", **fields},
            )
            for token in tokens
        ]
        await self.send(jobs=pb.JobBatch(jobs=jobs))

    async def next_frame(self) -> pb.SessionRequest:
        """Return what the worker says next."""
        async with asyncio.timeout(PATIENCE):
            frame = await self.frames.get()
        if frame is None:
            raise EOFError("the worker has closed the stream")
        return frame

    async def next_credit(self) -> int:
        """Return the next grant of credits, past anything else but reports."""
        while not (frame := await self.next_frame()).HasField("credit"):
            assert not frame.HasField("reports"), frame
        return frame.credit.jobs

    async def next_reports(self) -> list[pb.Report]:
        """Return the next batch of reports, past credits and heartbeats."""
        while not (frame := await self.next_frame()).HasField("reports"):
            pass
        return list(frame.reports.reports)

    async def next_report(self) -> pb.Report:
        """Return the next report, which is alone in its batch."""
        (report,) = await self.next_reports()
        return report

    async def acknowledge(
        self,
        *reports: pb.Report,
        state: pb.AckState.ValueType = pb.ACK_STATE_STORED,
        message: str = "",
    ) -> None:
        """Answer reports."""
        acks = [
            pb.Ack(token=report.token, sequence=report.sequence, state=state, message=message)
            for report in reports
        ]
        await self.send(acks=pb.AckBatch(acks=acks))

    async def closed_by_worker(self) -> list[pb.SessionRequest]:
        """Return what the worker said before it closed the stream in good order."""
        said = []
        async with asyncio.timeout(PATIENCE):
            while (frame := await self.frames.get()) is not None:
                said.append(frame)
        return said

    def end(self, code: grpc.StatusCode | None = None, details: str = "") -> None:
        """End the stream from the service's side."""
        self.status = (code, details) if code is not None else None
        self.ended.set()


class ScriptedService(pb_grpc.WorkerServiceServicer):
    """Hands every stream that a worker opens to the test."""

    def __init__(self) -> None:
        self.address = ""
        self._streams: asyncio.Queue[ScriptedStream] = asyncio.Queue()

    async def Session(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Context
    ) -> None:
        """Read frames until the test or the worker ends the stream."""
        first = await anext(request_iterator)
        stream = ScriptedStream(first.hello, context)
        self._streams.put_nowait(stream)
        reading = asyncio.create_task(self._read(request_iterator, stream))
        try:
            await stream.ended.wait()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if stream.status is not None:
            await context.abort(*stream.status)

    async def Poll(self, request: pb.PollRequest, context: Context) -> pb.PollResponse:
        """Refuse: workers of the SDK keep a stream."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        """Refuse, as above."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    @staticmethod
    async def _read(requests: AsyncIterator[pb.SessionRequest], stream: ScriptedStream) -> None:
        async for frame in requests:
            stream.frames.put_nowait(frame)
        stream.frames.put_nowait(None)
        stream.ended.set()

    async def accept(self) -> ScriptedStream:
        """Return the next stream that a worker opens."""
        async with asyncio.timeout(PATIENCE):
            return await self._streams.get()

    async def accept_and_welcome(self, **fields: Any) -> ScriptedStream:
        """Accept the next stream and answer its Hello."""
        stream = await self.accept()
        await stream.welcome(**fields)
        return stream


@asynccontextmanager
async def scripted_service() -> AsyncIterator[ScriptedService]:
    """Serve on a free port within the block."""
    service = ScriptedService()
    server = grpc.aio.server()
    pb_grpc.add_WorkerServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
