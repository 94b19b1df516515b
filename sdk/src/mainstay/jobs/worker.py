"""The worker: runs the functions of a backend whenever the events happen that trigger them.

::

    worker = Worker("127.0.0.1:50053", name="transcoder")

    @worker.function("process-video", on="video/upload.completed", retries=4, timeout=3600)
    async def process_video(job: JobContext, upload: Upload) -> JsonValue:
        probe = await job.step.run("probe", probe_file, upload.path)
        await job.progress(0.5, "transcoding")
        return {"duration": probe["duration"]}

    worker.main()
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TypeVar

from mainstay.channel import Channel
from mainstay.credentials import Credentials
from mainstay.errors import ConfigurationError, UnavailableError
from mainstay.jobs.client import JobClient
from mainstay.jobs.clock import WallClock
from mainstay.jobs.durations import Duration
from mainstay.jobs.execution import Execution
from mainstay.jobs.function import DEFAULT_RETRIES, Function, Handler
from mainstay.jobs.function_options import (
    Debounce,
    KeyedConcurrency,
    Overflow,
    RateLimit,
    VersionPolicy,
)
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.ledger import Ledger
from mainstay.jobs.registry import Registry
from mainstay.jobs.session import Session
from mainstay.jobs.step_calls import StepCalls
from mainstay.jobs.step_threads import StepThreads
from mainstay.signals import run_until_signal

log = logging.getLogger("mainstay.worker")

H = TypeVar("H", bound=Handler)

MAX_CONCURRENCY = 1_000
MAX_NAME = 100
# How long a worker that must go now tries to hand its jobs back.
RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crew:
    """What runs while a worker does."""

    in_flight: InFlight
    session: Session
    conversation: asyncio.Future[None]

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
    the 30 seconds after which Kubernetes kills. `credentials` say who it is, and whether it
    connects over TLS; it connects again with the certificates, and the token, that there are then.

    Handlers share this event loop with each other, so what blocks belongs into a plain `def` step,
    which runs in one of `concurrency` threads. A handler that blocks the loop all the same holds up
    the others, but not the heartbeats, which a thread of its own sends: they say for how long the
    loop has been stuck, and the service decides when that is too long. Threads cannot be cancelled,
    so a stopped worker does not wait for them: a step that is still in its thread when its job is
    handed back runs until it returns or the process ends, and again wherever the job goes.
    """

    def __init__(
        self,
        target: str,
        *,
        name: str | None = None,
        tenant: str | None = None,
        concurrency: int = 10,
        drain_seconds: float = 25.0,
        credentials: Credentials | None = None,
    ) -> None:
        self.name = (
            name if name is not None else f"{socket.gethostname()}-{os.getpid()}"[-MAX_NAME:]
        )
        self._target = target
        self._tenant = tenant
        self._credentials = credentials
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
        on: str = "",
        retries: int = DEFAULT_RETRIES,
        initial_backoff: Duration | None = None,
        max_backoff: Duration | None = None,
        timeout: Duration | None = None,
        hang_timeout: Duration | None = None,
        start_timeout: Duration | None = None,
        priority: int = 0,
        concurrency: int = 0,
        keyed_concurrency: KeyedConcurrency | None = None,
        rate_limit: RateLimit | None = None,
        idempotency: str = "",
        debounce: Debounce | None = None,
        overflow: Overflow | None = None,
        version: str = "",
        on_version_change: VersionPolicy = VersionPolicy.CONTINUE,
    ) -> Callable[[H], H]:
        """Register the decorated coroutine function as `name`.

        It takes the job, as a `JobContext`, and may take the payload as its second parameter: as
        the pydantic model or dataclass that the parameter is annotated with. A payload that does
        not fit ends the job with PayloadError. It returns what JSON can hold, or such a model.

        Lengths of time are seconds or `timedelta`s, and None means the default that is named.

        Args:
            name: 1 to 100 of `a-z 0-9 . _ / -`, unique within the tenant.
            on: The event that starts it; empty for one that is only enqueued, invoked or scheduled.
            retries: How often it is tried again after its first attempt, 0 to 99: with the default
                of 2 there are 3 attempts in all. Workers that are lost do not count.
            initial_backoff: The wait before the second attempt (1 s). Doubles with each further
                one, with jitter.
            max_backoff: The longest wait between attempts (300 s).
            timeout: How long one turn at a job may take, up to 7 days (any time). Beyond, it is
                cancelled and has failed, with `TimedOut`. What it waits by a step does not count.
            hang_timeout: How long a job may give no sign of life, which are its steps, its progress
                and `job.alive()`, before its turn counts as failed (any time, unless the whole
                worker is stuck).
            start_timeout: How long a job may wait for its first attempt before it is dead-lettered
                (any time).
            priority: Of jobs that wait, those with more go first: -100 to 100. A point is a head
                start of 10 s.
            concurrency: How many of its jobs may run at once, of all tenants and on all workers; 0
                for any number.
            keyed_concurrency: How many may run at once that have the same key.
            rate_limit: How many may start in a time, as the rate limit service counts.
            idempotency: A JSON pointer into the payload, such as `/video_id`: of a tenant's events
                with the same value there only the first within 30 days starts a job.
            debounce: Folds events that come in quick succession into one job.
            overflow: What becomes of jobs for which its queue has no room; None for no bound.
            version: The version of its code, such as a release or a hash, up to 100 characters.
            on_version_change: What becomes of a job with finished steps when a worker of another
                version takes it up.

        Raises ConfigurationError for what cannot be.
        """

        def register(handler: H) -> H:
            self._registry.add(
                Function(
                    name=name,
                    handler=handler,
                    on=on,
                    retries=retries,
                    initial_backoff=initial_backoff,
                    max_backoff=max_backoff,
                    timeout=timeout,
                    hang_timeout=hang_timeout,
                    start_timeout=start_timeout,
                    priority=priority,
                    concurrency=concurrency,
                    keyed_concurrency=keyed_concurrency,
                    rate_limit=rate_limit,
                    idempotency=idempotency,
                    debounce=debounce,
                    overflow=overflow,
                    version=version,
                    on_version_change=on_version_change,
                )
            )
            return handler

        return register

    @property
    def functions(self) -> Mapping[str, Function]:
        """The registered functions by name, for `mainstay.testing.run_function`."""
        return self._registry.functions

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
        try:
            async with self._crew() as crew:
                await crew.until(self._stopping)
                crew.check()
                await self._drain(crew)
                crew.check()
        finally:
            self._ended = True
            self._ready.set()

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
        await run_until_signal(self.run, self.stop)

    @asynccontextmanager
    async def _crew(self) -> AsyncIterator[_Crew]:
        functions = self._registry.definitions()
        threads = StepThreads(self._concurrency)
        ledger = Ledger(self._concurrency)
        jitter = random.Random()  # noqa: S311 - spreads retries and reconnects, guards nothing
        # What functions send goes over a connection of this loop: the session has its own.
        channel = self._channel()
        calls = StepCalls(threads, WallClock(), jitter)
        execution = Execution(self._registry, calls, JobClient(channel))
        in_flight = InFlight(self._concurrency, ledger, execution)
        session = Session(
            self._channel(),
            worker=self.name,
            functions=functions,
            ledger=ledger,
            in_flight=in_flight,
            on_ready=self._ready.set,
            jitter=jitter,
        )
        crew = _Crew(in_flight=in_flight, session=session, conversation=session.start())
        try:
            yield crew
        finally:
            with closing(threads):
                try:
                    await self._dismiss(crew)
                finally:
                    await channel.close()

    def _channel(self) -> Channel:
        return Channel(self._target, tenant=self._tenant, credentials=self._credentials)

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
            crew.session.abandon()
            await asyncio.wait((crew.conversation,), timeout=RELEASE_SECONDS)
            if crew.conversation.done():
                crew.conversation.exception()  # fetched, or asyncio would complain about it later
            log.info(
                "worker %s stopped: %d jobs left to others",
                self.name,
                len(crew.in_flight),
                extra={"worker": self.name, "in_flight": len(crew.in_flight)},
            )
