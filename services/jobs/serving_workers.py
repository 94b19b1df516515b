"""`mainstay.jobs.v1.WorkerService`: parse, call, format."""

import asyncio
import math
from collections.abc import AsyncIterator

from mainstay.errors import DeadlineError, ValidationError
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as worker_grpc
from services.jobs import frame_formatting, frame_parsing
from services.jobs.frames import Hello
from services.jobs.polling import Polling
from services.jobs.session import WorkerStream
from services.jobs.sessions import Sessions
from services.jobs.wire_times import seconds_of
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

# Results, and what is cut to a length rather than refused.
_ROOMY_IN_REPORTS = (
    "step_completed.result_json",
    "progress.message",
    "progress.partial_json",
    "completed.result_json",
    "failed.kind",
    "failed.message",
    "wait_begun.event.match_json",
    "wait_begun.invoke.data_json",
)


def _roomy(reports: str) -> frozenset[str]:
    return frozenset(f"{reports}.{field}" for field in _ROOMY_IN_REPORTS)


METHODS = {
    "Session": MethodPolicy(
        default_deadline=math.inf,
        max_deadline=math.inf,
        wildcard_tenant=True,
        roomy=_roomy("reports.reports"),
    ),
    "Poll": MethodPolicy(default_deadline=35.0, wildcard_tenant=True, waits=True),
    "Report": MethodPolicy(wildcard_tenant=True, roomy=_roomy("reports")),
}


class WorkerServicer(worker_grpc.WorkerServiceServicer):
    """For those who do jobs."""

    def __init__(self, sessions: Sessions, polling: Polling, *, hello_timeout: float) -> None:
        self._sessions = sessions
        self._polling = polling
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
            yield frame_formatting.frame(welcome)
            while (frame := await stream.next()) is not None:
                yield frame_formatting.frame(frame)
        finally:
            reading.cancel()
            self._sessions.leave(stream)
            await asyncio.wait({reading})

    async def Poll(self, request: worker_pb.PollRequest, context: object) -> worker_pb.PollResponse:
        polled = await self._polling.poll(
            current_call().tenant,
            frame_parsing.hello(request.hello),
            jobs=request.max_jobs,
            within=seconds_of(request.wait),
        )
        return worker_pb.PollResponse(
            welcome=frame_formatting.welcome(polled.welcome),
            jobs=[frame_formatting.assigned(job) for job in polled.jobs],
            directives=[frame_formatting.directive(each) for each in polled.directives],
        )

    async def Report(
        self, request: worker_pb.ReportRequest, context: object
    ) -> worker_pb.ReportResponse:
        acks, directives = await self._polling.report(
            current_call().tenant,
            frame_parsing.session_from(request.session),
            frame_parsing.reports_from(request.reports),
        )
        return worker_pb.ReportResponse(
            acks=[frame_formatting.ack(ack) for ack in acks.acks],
            directives=[frame_formatting.directive(each) for each in directives],
        )

    async def _hello(self, requests: AsyncIterator[worker_pb.SessionRequest]) -> Hello:
        try:
            async with asyncio.timeout(self._hello_timeout):
                return frame_parsing.hello_from(await anext(requests))
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
                await self._sessions.receive(stream, frame_parsing.frame_from(request))
            stream.finish()
        except Exception as error:  # noqa: BLE001 - passed on to the task that writes the stream
            stream.fail(error)
