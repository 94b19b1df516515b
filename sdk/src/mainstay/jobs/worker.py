"""The worker: runs the functions of a backend whenever the events happen that trigger them.

::

    worker = Worker("127.0.0.1:50053", name="transcoder")

    @worker.function("process-video", trigger="video/upload.completed")
    async def process_video(job: JobContext) -> JsonValue:
        probe = await job.step.run("probe", probe_file, job.data["path"])
        await job.progress(0.5, "transcoding")
        return {"duration": probe["duration"]}

    worker.main()
"""

import asyncio
import contextvars
import logging
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

from mainstay.channel import Channel
from mainstay.errors import ConfigurationError, UnavailableError
from mainstay.jobs.execution import Execution
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.outbox import Outbox
from mainstay.jobs.registry import Function, Handler, Registry
from mainstay.jobs.session import Session
from mainstay.jobs.step_threads import StepThreads

log = logging.getLogger("mainstay.worker")

MAX_CONCURRENCY = 1_000
MAX_NAME = 100
# How long a worker that must go now tries to hand its jobs back.
RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crew:
    """What runs while a worker does."""

    in_flight: InFlight
    session: Session
    conversation: asyncio.Task[None]

    async def until(self, event: asyncio.Event, *, seconds: float | None = None) -> None:
        """Return when the event is set, the time is over or the conversation has ended."""
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait(
                (waiting, self.conversation),
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()

    def check(self) -> None:
        """Raise what ended the conversation, if it has ended."""
        if self.conversation.done():
            self.conversation.result()


class Worker:
    """Takes jobs from the service at `target` (`host:port`) and runs them in this event loop.

    `name` is for people, 1 to 100 characters; by default the host and the process id. `tenant` is
    whose jobs it takes: None for the service's default tenant, "*" for every tenant's. At most
    `concurrency` jobs, up to 1,000, run at the same time. When stopped it gives running jobs
    `drain_seconds` to finish before it hands them back; the default leaves time for that within
    the 30 seconds after which Kubernetes kills.

    Handlers share the event loop with the connection: what blocks belongs into a plain `def` step,
    which runs in one of `concurrency` threads. Threads cannot be cancelled, so a stopped worker
    does not wait for them: a step that is still in its thread when its job is handed back runs
    until it returns or the process ends, and again wherever the job goes.
    """

    def __init__(
        self,
        target: str,
        *,
        name: str | None = None,
        tenant: str | None = None,
        concurrency: int = 10,
        drain_seconds: float = 25.0,
    ) -> None:
        self.name = (
            name if name is not None else f"{socket.gethostname()}-{os.getpid()}"[-MAX_NAME:]
        )
        self._target = target
        self._tenant = tenant
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._registry = Registry()
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._began = False
        self._ended = False
        self._check()

    def _check(self) -> None:
        if not 1 <= len(self.name) <= MAX_NAME:
            raise ConfigurationError(f"worker name {self.name!r} is not 1 to 100 characters long")
        if not 1 <= self._concurrency <= MAX_CONCURRENCY:
            raise ConfigurationError(
                f"worker concurrency is {self._concurrency}; use 1 to {MAX_CONCURRENCY:,}"
            )

    def function(
        self,
        name: str,
        *,
        trigger: str,
        max_attempts: int = 3,
        initial_backoff: float | None = None,
        max_backoff: float | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated coroutine function as `name`, started by the event `trigger`.

        It is tried up to `max_attempts` times, 1 to 100. The wait before the second attempt is
        `initial_backoff` seconds (default 1), doubles with each further one up to `max_backoff`
        (default 300), and has jitter. Raises ConfigurationError for what cannot be.
        """

        def register(handler: Handler) -> Handler:
            self._registry.add(
                Function(
                    name=name,
                    trigger=trigger,
                    handler=handler,
                    max_attempts=max_attempts,
                    initial_backoff=initial_backoff,
                    max_backoff=max_backoff,
                )
            )
            return handler

        return register

    async def run(self) -> None:
        """Work until `stop` or cancellation; connects again for as long as that takes.

        After `stop`, jobs in flight may finish within `drain_seconds`; then, and at once when
        cancelled, they are handed back without an attempt being burnt. Raises the MainstayError of
        a service that refuses this worker, such as ValidationError. A worker runs once; a second
        time raises ConfigurationError.
        """
        if self._began:
            raise ConfigurationError(
                f"worker {self.name} has run before, and a worker runs once; make a new Worker"
            )
        self._began = True
        async with self._crew() as crew:
            await crew.until(self._stopping)
            crew.check()
            await self._drain(crew)
            crew.check()

    async def ready(self) -> None:
        """Return once the service knows this worker: events start its functions from now on.

        Raises UnavailableError when `run` ended, so that waiting for it would have no end.
        """
        await self._ready.wait()
        if self._ended:
            raise UnavailableError(f"worker {self.name} has ended; `run` tells why")

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stopping.set()

    def main(self) -> None:
        """Be a process of its own: `run_until_signal` in an event loop of its own."""
        asyncio.run(self.run_until_signal())

    async def run_until_signal(self) -> None:
        """Run; SIGTERM or SIGINT drains, a second one hands jobs back at once."""
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(self.run())

        def interrupted() -> None:
            if self._stopping.is_set():
                running.cancel()
            self.stop()

        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, interrupted)
        try:
            await asyncio.wait((running,))
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        if not running.cancelled():
            running.result()

    @asynccontextmanager
    async def _crew(self) -> AsyncIterator[_Crew]:
        wake = asyncio.Event()
        outbox = Outbox()
        functions = self._registry.definitions()
        threads = StepThreads(self._concurrency)
        execution = Execution(self._registry, threads)
        in_flight = InFlight(self._concurrency, outbox, execution, wake.set)
        async with Channel(self._target, tenant=self._tenant) as channel:
            session = Session(
                channel,
                worker=self.name,
                functions=functions,
                in_flight=in_flight,
                outbox=outbox,
                wake=wake,
                ready=self._ready,
                jitter=random.Random(),  # noqa: S311 - spreads reconnects, guards nothing
            )
            # Jobs belong to the requests that caused them: whatever is current where the worker
            # was started (a request, a span) must not leak into them.
            conversation = asyncio.create_task(
                session.run(), name="jobs session", context=contextvars.Context()
            )
            crew = _Crew(in_flight=in_flight, session=session, conversation=conversation)
            try:
                yield crew
            finally:
                with closing(threads):
                    await self._dismiss(crew)

    async def _drain(self, crew: _Crew) -> None:
        log.info(
            "worker %s drains: %d jobs in flight",
            self.name,
            len(crew.in_flight),
            extra={"worker": self.name, "in_flight": len(crew.in_flight)},
        )
        crew.in_flight.stop_accepting()
        await crew.until(crew.in_flight.idle, seconds=self._drain_seconds)

    async def _dismiss(self, crew: _Crew) -> None:
        """Hand back what is left, within a bounded time, and end the conversation."""
        try:
            crew.in_flight.stop_accepting()
            crew.in_flight.release_all()
            await crew.until(crew.in_flight.idle, seconds=RELEASE_SECONDS)
            crew.session.close()
            await asyncio.wait((crew.conversation,), timeout=RELEASE_SECONDS)
        finally:
            # Also when a second cancellation cuts the waiting short.
            crew.conversation.cancel()
            await asyncio.gather(crew.conversation, return_exceptions=True)
            self._ended = True
            self._ready.set()
            log.info(
                "worker %s stopped: %d jobs left to others",
                self.name,
                len(crew.in_flight),
                extra={"worker": self.name, "in_flight": len(crew.in_flight)},
            )
