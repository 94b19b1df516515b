"""One stream between a worker and the service: from its Welcome until it breaks or is closed."""

import asyncio
from contextlib import suppress
from typing import TypeAlias

import grpc

from mainstay.jobs.assignment import AssignedJob
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.outbox import Outbox
from mainstay.jobs.v1 import worker_service_pb2 as pb

SessionCall: TypeAlias = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

# How long the service has to end a stream that the worker has closed.
CLOSE_SECONDS = 2.0
# However often a service wants to hear of its worker: an interval of nothing would be all it hears.
SHORTEST_BEAT_SECONDS = 0.01


class Stream:
    """Carries credits, reports and heartbeats one way; jobs and acknowledgements the other.

    Whatever is due goes out by one writer, one frame after the other: reports that were queued
    while it waited share a frame. `wake` tells the writer that something may be due.
    """

    def __init__(
        self,
        call: SessionCall,
        welcome: pb.Welcome,
        *,
        in_flight: InFlight,
        outbox: Outbox,
        wake: asyncio.Event,
    ) -> None:
        self.proven = False
        self._call = call
        beat_every = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._beat_every = max(beat_every, SHORTEST_BEAT_SECONDS)
        self._lease = welcome.lease.ToTimedelta().total_seconds()
        self._in_flight = in_flight
        self._outbox = outbox
        self._wake = wake
        # Credits belong to a stream: a new one begins with none.
        self._open_credits = 0
        self._beat_at = 0.0
        self._drain_sent = False
        self._closing = False

    async def run(self) -> str:
        """Carry frames until the stream ends and return why; raises its status if that is bad."""
        reader = asyncio.create_task(self._read(), name="jobs stream reader")
        writer = asyncio.create_task(self._write(), name="jobs stream writer")
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        if not reader.cancelled():
            return reader.result()
        return "it was cancelled" if writer.cancelled() else writer.result()

    def close(self) -> None:
        """Tell the service that the worker has nothing more to say."""
        self._closing = True
        self._wake.set()

    async def _read(self) -> str:
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._lease) as patience:
                while isinstance(frame := await self._call.read(), pb.SessionResponse):
                    self.proven = True
                    if frame.HasField("heartbeat"):
                        patience.reschedule(now() + self._lease)
                    if frame.HasField("go_away"):
                        return f"the service asked to connect again: {frame.go_away.reason}"
                    self._take(frame)
        except TimeoutError:
            return f"no heartbeat was answered for {self._lease:g} s"
        return "the service ended it"

    def _take(self, frame: pb.SessionResponse) -> None:
        match frame.WhichOneof("frame"):
            case "jobs":
                self._open_credits -= len(frame.jobs.jobs)
                for job in frame.jobs.jobs:
                    self._in_flight.start(AssignedJob.parse(job))
            case "acks":
                for ack in frame.acks.acks:
                    self._in_flight.acknowledge(ack)
            case "heartbeat":
                self._in_flight.lose(frame.heartbeat.lost_tokens)
            case _:
                pass  # a frame of a newer service, which older workers may ignore

    async def _write(self) -> str:
        # InvalidStateError: the stream has ended; why is what the reader hears.
        with suppress(asyncio.InvalidStateError):
            await self._write_frames()
            await self._call.done_writing()
        await asyncio.sleep(CLOSE_SECONDS)
        return "closed by the worker"

    async def _write_frames(self) -> None:
        now = asyncio.get_running_loop().time
        self._beat_at = now() + self._beat_every
        while not self._closing:
            self._wake.clear()
            while (frame := self._next_frame(now())) is not None:
                await self._call.write(frame)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._beat_at):
                    await self._wake.wait()

    def _next_frame(self, now: float) -> pb.SessionRequest | None:
        """Return what is most urgent: a heartbeat must not wait behind a flood of reports."""
        if now >= self._beat_at:
            self._beat_at = now + self._beat_every
            return pb.SessionRequest(heartbeat=pb.Heartbeat(tokens=self._in_flight.tokens()))
        if not self._in_flight.accepting and not self._drain_sent:
            self._drain_sent = True
            return pb.SessionRequest(drain=pb.Drain())
        if (due := self._in_flight.room() - self._open_credits) > 0 and not self._drain_sent:
            self._open_credits += due
            return pb.SessionRequest(credit=pb.Credit(jobs=due))
        if self._outbox:
            return pb.SessionRequest(reports=pb.ReportBatch(reports=self._outbox.take_batch()))
        return None
