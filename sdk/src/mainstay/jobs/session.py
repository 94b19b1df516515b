"""A worker's session with the service, across as many streams as it takes."""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress

import grpc

from mainstay.channel import Channel
from mainstay.errors_wire import translate
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.outbox import Outbox
from mainstay.jobs.reconnect import reconnect_pause
from mainstay.jobs.stream import SessionCall, Stream
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as pb_grpc

log = logging.getLogger("mainstay.worker")

WELCOME_SECONDS = 10.0
# What connecting again cannot heal: the worker's own declaration or rights are wrong.
_PERMANENT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


class _NoWelcomeError(Exception):
    """The service did not answer Hello as it should."""


class Session:
    """Opens streams, one after the other, and resumes on each with the jobs still in flight.

    Reports that were not acknowledged go out again on the new stream under their old sequences;
    jobs that were given to others meanwhile are stopped.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        worker: str,
        functions: Sequence[pb.FunctionDefinition],
        in_flight: InFlight,
        outbox: Outbox,
        wake: asyncio.Event,
        ready: asyncio.Event,
        jitter: random.Random,
    ) -> None:
        self._channel = channel
        self._stub = pb_grpc.WorkerServiceStub(channel.raw)
        self._worker = worker
        self._functions = functions
        self._in_flight = in_flight
        self._outbox = outbox
        self._wake = wake
        self._ready = ready
        self._jitter = jitter
        self._session = b""
        self._stream: Stream | None = None
        self._failures = 0
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Converse until closed; raises only when the service refuses the worker itself."""
        while not self._closed.is_set():
            reason = await self._converse()
            if self._closed.is_set():
                return
            self._failures += 1
            pause = reconnect_pause(self._failures, self._jitter)
            log.warning(
                "stream to jobs service at %s lost: %s; connecting again in %.1f s",
                self._channel.target,
                reason,
                pause,
                extra={"worker": self._worker, "in_flight": len(self._in_flight)},
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause)

    def close(self) -> None:
        """End the conversation: what is acknowledged is done, what is not goes to others."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()

    async def _converse(self) -> str:
        """Open one stream, use it as long as it lasts, and return why it ended."""
        call = self._stub.Session(metadata=self._channel.metadata())
        try:
            self._stream = await self._open(call)
            if self._closed.is_set():
                self._stream.close()
            return await self._stream.run()
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except _NoWelcomeError as error:
            return str(error)
        finally:
            if self._stream is not None and self._stream.proven:
                self._failures = 0
            self._stream = None
            call.cancel()

    async def _open(self, call: SessionCall) -> Stream:
        try:
            welcome = await self._introduce(call)
        except grpc.aio.AioRpcError as error:
            if error.code() in _PERMANENT:
                raise translate(error) from error
            raise
        self._session = welcome.session
        self._in_flight.lose(welcome.lost_tokens)
        self._outbox.rewind()
        self._ready.set()
        log.info(
            "worker %s connected to jobs service at %s",
            self._worker,
            self._channel.target,
            extra={"worker": self._worker, "in_flight": len(self._in_flight)},
        )
        return Stream(
            call, welcome, in_flight=self._in_flight, outbox=self._outbox, wake=self._wake
        )

    async def _introduce(self, call: SessionCall) -> pb.Welcome:
        hello = pb.Hello(
            worker=self._worker,
            functions=self._functions,
            resume_session=self._session,
            in_flight_tokens=self._in_flight.tokens(),
        )
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                await call.write(pb.SessionRequest(hello=hello))
                frame = await call.read()
        except TimeoutError as error:
            raise _NoWelcomeError(f"no Welcome within {WELCOME_SECONDS:g} s") from error
        except asyncio.InvalidStateError as error:
            raise _NoWelcomeError("the stream ended before Hello was sent") from error
        if isinstance(frame, pb.SessionResponse) and frame.HasField("welcome"):
            return frame.welcome
        raise _NoWelcomeError("the service answered Hello with something else than Welcome")
