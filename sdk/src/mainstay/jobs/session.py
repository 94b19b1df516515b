"""A worker's session with the service, across as many streams as it takes, in its own thread.

A handler that blocks its event loop must not look like a worker that is dead, so the session shares
nothing with that loop but a ledger behind a lock. It uses grpcio's synchronous interface, and not a
second event loop with grpc.aio, for three measured reasons (two cores, grpcio 1.85; batches of 100
and of 10 jobs): it costs less (9.0 and 41 µs of CPU a job, against 9.8 and 49); all loops of
grpc.aio in a process are woken by every event of each, which cost the session's thread 25 µs for
each call that a handler made elsewhere; and with grpcio 1.76, the oldest that is supported, that
fills the log with BlockingIOError.

Who owns what: jobs, their tasks and futures belong to the handlers' loop (`InFlight`, `HeldJob`);
the `Ledger` to whoever has its lock; a `Stream` to the threads that its module names; `Session` to
its own thread, except for `start`, `close` and `abandon`, which the handlers' loop calls.
"""

import asyncio
import contextvars
import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import cast

import grpc

from mainstay.channel import Channel
from mainstay.errors_wire import translate
from mainstay.jobs.handlers_loop import HandlersLoop
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.ledger import Ledger
from mainstay.jobs.reconnect import reconnect_pause
from mainstay.jobs.stream import Stream
from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2_grpc as pb_grpc

log = logging.getLogger("mainstay.worker")

# What connecting again cannot heal: the worker's own declaration or rights are wrong.
_PERMANENT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


class Session:
    """Opens streams, one after the other, and resumes on each with the jobs still in flight.

    Reports that were not acknowledged go out again on the new stream under their old sequences;
    jobs that were given to others meanwhile are stopped. `on_ready` is called in the handlers' loop
    with every Welcome.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        worker: str,
        functions: Sequence[function_pb2.FunctionDefinition],
        ledger: Ledger,
        in_flight: InFlight,
        on_ready: Callable[[], None],
        jitter: random.Random,
    ) -> None:
        self._channel = channel
        self._worker = worker
        self._functions = functions
        self._ledger = ledger
        self._in_flight = in_flight
        self._on_ready = on_ready
        self._jitter = jitter
        loop = asyncio.get_running_loop()
        self._handlers = HandlersLoop(loop)
        self._ended: asyncio.Future[None] = loop.create_future()
        self._session = b""
        self._stream: Stream | None = None
        self._failures = 0
        self._closing = threading.Event()

    def start(self) -> asyncio.Future[None]:
        """Begin; the future ends with the session, which raises only what the service refuses."""
        # A context of its own: the session speaks for no request, not for the worker's starter's.
        run = contextvars.Context().run
        threading.Thread(
            target=run, args=(self._run,), name="mainstay session", daemon=True
        ).start()
        return self._ended

    def close(self) -> None:
        """End the session: what is acknowledged is done, what is not goes to others."""
        self._closing.set()
        with self._ledger.changed:
            self._ledger.changed.notify_all()

    def abandon(self) -> None:
        """End the session at once, without waiting for the service to close its end."""
        self.close()
        if (stream := self._stream) is not None:
            stream.abandon("the worker has ended")

    def _run(self) -> None:
        try:
            self._keep_up()
        except BaseException as error:  # noqa: BLE001 - whoever runs the worker raises it
            self._handlers.call(self._end, error)
        else:
            self._handlers.call(self._end, None)

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _keep_up(self) -> None:
        while not self._over():
            # One of its own for each stream: it has the certificates that there are now.
            with self._channel.open_blocking() as connection:
                reason = self._converse(pb_grpc.WorkerServiceStub(connection))
            if self._over():
                return
            self._failures += 1
            pause = reconnect_pause(self._failures, self._jitter)
            log.warning(
                "stream to jobs service at %s lost: %s; connecting again in %.1f s",
                self._channel.target,
                reason,
                pause,
                extra=self._log_fields(),
            )
            self._closing.wait(pause)

    def _over(self) -> bool:
        return self._closing.is_set() or self._handlers.gone

    def _converse(self, stub: pb_grpc.WorkerServiceStub) -> str:
        """Open one stream, use it as long as it lasts, and return why it ended."""
        self._stream = stream = Stream(
            self._hello(),
            ledger=self._ledger,
            in_flight=self._in_flight,
            handlers=self._handlers,
            closing=self._closing,
            on_welcome=self._welcomed,
        )
        try:
            return stream.run(stub.Session, self._channel.metadata())
        except grpc.RpcError as error:
            status = cast("grpc.Call", error)  # which it always is, says grpcio's documentation
            if not stream.welcomed and status.code() in _PERMANENT:
                raise translate(status) from error
            return f"{status.code().name}: {status.details()}"
        finally:
            if stream.proven:
                self._failures = 0

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            worker=self._worker,
            functions=self._functions,
            resume_session=self._session,
            in_flight_tokens=self._ledger.tokens(),
        )

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self._session = welcome.session
        self._handlers.call(self._on_ready)
        log.info(
            "worker %s connected to jobs service at %s",
            self._worker,
            self._channel.target,
            extra=self._log_fields(),
        )

    def _log_fields(self) -> dict[str, str | int]:
        return {"worker": self._worker, "in_flight": len(self._ledger.tokens())}
