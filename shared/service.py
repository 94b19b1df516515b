"""The life of a service: wait for what it needs, serve, drain, leave.

    starting ──all resources up──► serving ──SIGTERM, SIGINT or a crash inside──► draining ──► gone

SIGTERM: health says NOT_SERVING, balancers get `shutdown_delay` to notice, calls in flight get
`shutdown_grace` to end, background tasks are cancelled and awaited, resources closed in reverse.
A second signal exits at once. Exit codes: 0 after a drain, 1 after a crash, 2 for a wrong setting.
"""

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Protocol, TypeVar

import structlog
import uvloop

from mainstay.errors import ConfigurationError, MainstayError
from shared.config import EXIT_CONFIGURATION, CommonSettings, load_settings
from shared.http import HttpServer
from shared.http_gate import HttpGate
from shared.identity.audit import build_audit
from shared.identity.authenticator import build_authenticator
from shared.operations import operations_app
from shared.postgres.slow_queries import SlowQueries
from shared.processes import is_worker_process, own_port, supervise
from shared.rpc.health import Named
from shared.rpc.policy import MethodPolicy
from shared.rpc.server import AddToServer, RpcServer, authority
from shared.telemetry import metrics
from shared.telemetry.logs import configure_logs
from shared.telemetry.loop_lag import LoopLag
from shared.telemetry.sentry import configure_sentry, flush_sentry, report_crash
from shared.telemetry.telemetry_rows import TelemetryRows
from shared.telemetry.trace_export import configure_tracing, exports_traces
from shared.tls import ServerTls

MAX_STREAMS = 4_000
FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
EXIT_CRASHED = 1
EXIT_FORCED = 130
STDIN = 0
AUTHENTICATION_OFF = (
    "everybody on this machine may do everything in every tenant; set MAINSTAY_AUTH where others "
    "than developers can reach it"
)

log = structlog.get_logger()


class Resource(Protocol):
    """Something a service needs while it serves, such as a connection pool."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    async def start(self) -> None:
        """Make it usable; a transient `MainstayError` means: try again later."""
        ...

    async def close(self) -> None:
        """Release everything; called once, also after a failed start."""
        ...


R = TypeVar("R", bound=Resource)
S = TypeVar("S", bound=CommonSettings)
Hook = Callable[[], Awaitable[None]]


class Service:
    """One service in one process: put together in `services/<name>/app.py`, then run."""

    def __init__(
        self,
        name: str,
        settings: CommonSettings,
        *,
        port: int,
        ops_port: int,
        traced: bool | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._port = port
        self._conditions: dict[str, str] = {}
        self._rows = _rows(name, settings)
        self._authenticator = build_authenticator(settings)
        self._audit = build_audit(name, settings)
        self.http_gate = HttpGate(self._authenticator)
        tls = ServerTls.from_settings(settings)
        self.http_tls = tls if settings.tls_http else None
        shared_port = settings.processes > 1
        self._rpc = RpcServer(
            max_calls=settings.max_concurrent_calls,
            max_streams=MAX_STREAMS,
            traced=exports_traces(settings) if traced is None else traced,
            shared_port=shared_port,
            setting=f"MAINSTAY_{name.upper()}_PORT",
            calls=self._rows,
            gate=self._authenticator,
            audit=self._audit,
            tls=tls,
        )
        self._ops = HttpServer(
            "operations",
            operations_app(name, self._rpc.health, self._conditions, self.http_gate),
            settings.host,
            own_port(ops_port),
            setting=f"MAINSTAY_{name.upper()}_OPS_PORT",
            tls=self.http_tls,
        )
        self._resources: list[Resource] = []
        self._started: list[Resource] = []
        self._tasks: list[tuple[str, Hook]] = [
            ("loop-lag", LoopLag().run),
            ("slow-queries", SlowQueries().run),
        ]
        self._running_tasks: list[asyncio.Task[None]] = []
        self._drain_hooks: list[Hook] = []
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._began_serving = False
        metrics.build_info.labels(name, version("mainstay-suite")).set(1)

    @property
    def address(self) -> str:
        """Return `host:port` of the gRPC server; known once it serves."""
        return authority(self._settings.host, self._rpc.port)

    @property
    def ops_address(self) -> str:
        """Return `host:port` of the operations server; known once it started."""
        return authority(self._settings.host, self._ops.port)

    @property
    def serving(self) -> bool:
        """Return whether calls are welcome."""
        return self._rpc.health.serving

    @property
    def started(self) -> bool:
        """Return whether calls were welcome at some time."""
        return self._rpc.health.started

    def answer_health_for(self, named: Named) -> Callable[[], None]:
        """Answer grpc.health.v1 for more names; call what is returned when they change."""
        self._rpc.health.add_named(named)
        return self._rpc.health.look_again

    def use(self, resource: R) -> R:
        """Start `resource` before serving and close it after; in order, and in reverse."""
        self._resources.append(resource)
        return resource

    def expose(
        self, add_to_server: AddToServer, servicer: object, methods: Mapping[str, MethodPolicy]
    ) -> None:
        """Serve a servicer's methods; each must have a policy."""
        self._rpc.expose(add_to_server, servicer, methods)

    def background(self, name: str, run: Hook) -> None:
        """Run a task as long as the service serves; if it ends by itself, so does the service."""
        self._tasks.append((name, run))

    def report_condition(self, name: str, problem: str | None) -> None:
        """Show a problem at `/readyz` until it is None; readiness stays as it is."""
        if problem is None:
            self._conditions.pop(name, None)
        else:
            self._conditions[name] = problem

    def on_drain(self, hook: Hook) -> None:
        """Call `hook` when draining begins, while calls in flight still run."""
        self._drain_hooks.append(hook)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """Serve within the block; for tests, and the core of `run`."""
        try:
            await self._start()
            yield self
        finally:
            await self._drain()

    async def _start(self) -> None:
        await self._ops.start()
        if self._authenticator is None:
            log.warning("authentication_off", error=AUTHENTICATION_OFF)
        for resource in self._all_resources():
            self._started.append(resource)
            await self._start_with_backoff(resource)
        await self._rpc.start(self._settings.host, self._port)
        for name, run in self._all_tasks():
            task = asyncio.create_task(self._guard(name, run), name=name)
            self._running_tasks.append(task)
        _settle_memory()
        self._began_serving = True
        self._rpc.health.set_serving(serving=True)
        log.info("service_ready", address=self.address, operations=self.ops_address)

    def _all_resources(self) -> Iterator[Resource]:
        if self._authenticator is not None:
            yield self._authenticator
        yield from self._resources

    def _all_tasks(self) -> list[tuple[str, Hook]]:
        tasks = [*self._tasks, ("audit", self._audit.run)]
        if self._authenticator is not None:
            tasks += [("identity", self._authenticator.run), ("recheck", self._rpc.recheck)]
        return tasks + ([("telemetry", self._rows.run)] if self._rows else [])

    @staticmethod
    async def _start_with_backoff(resource: Resource) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                return await resource.start()
            except MainstayError as error:
                if not error.transient:
                    raise
                pause = wait * random.uniform(0.8, 1.2)  # noqa: S311
                log.warning(
                    "dependency_waiting",
                    dependency=resource.name,
                    error=error.message,
                    retry_in_s=round(pause, 2),
                )
                await asyncio.sleep(pause)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _guard(self, name: str, run: Hook) -> None:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - whatever ended the task ends the service
            log.fatal("background_task_failed", task=name, exc_info=error)
            report_crash(error, task=name)
        else:
            log.fatal("background_task_ended", task=name)
        self._exit_code = EXIT_CRASHED
        self._stop.set()

    async def _drain(self) -> None:
        log.info("service_draining")
        if self._began_serving:
            self._rpc.health.set_serving(serving=False)
            await asyncio.sleep(self._settings.shutdown_delay)
        for hook in self._drain_hooks:
            await _drain_step("drain hook", hook)
        await self._rpc.stop(self._settings.shutdown_grace)
        for task in self._running_tasks:
            task.cancel()
        await asyncio.gather(*self._running_tasks, return_exceptions=True)
        for resource in reversed(self._started):
            await _drain_step(resource.name, resource.close)
        await _drain_step("audit", self._audit.close)
        if self._rows is not None:
            await _drain_step("telemetry", self._rows.close)
        await self._ops.close()
        log.info("service_stopped")

    async def main(self) -> int:
        """Serve until a signal or a crash; returns the exit code."""
        self._catch_signals()
        stopped = asyncio.create_task(self._stop.wait())
        serving = asyncio.create_task(self._serve())
        try:
            # While it still waits for a dependency, a signal must end the wait.
            await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not self._began_serving:
                serving.cancel()
            await serving
        except asyncio.CancelledError:
            log.info("start_abandoned")
        except ConfigurationError as error:
            sys.stderr.write(f"{error.message}\n")
            self._exit_code = EXIT_CONFIGURATION
        finally:
            stopped.cancel()
        return self._exit_code

    async def _serve(self) -> None:
        async with self.running():
            await self._stop.wait()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal, signal.SIGTERM)
        if is_worker_process():
            # Ctrl-C in a terminal reaches the whole group; the supervisor says what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            loop.add_reader(STDIN, self._on_orphaned)
        else:
            loop.add_signal_handler(signal.SIGINT, self._on_signal, signal.SIGINT)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("exiting_at_once", signal=number.name)
            os._exit(EXIT_FORCED)
        log.info("signal_received", signal=number.name)
        self._stop.set()

    def _on_orphaned(self) -> None:
        """Stop: nobody would tell this process to, and it would go on sharing the port."""
        asyncio.get_running_loop().remove_reader(STDIN)
        log.warning("supervisor_gone")
        self._exit_code = EXIT_CRASHED
        self._stop.set()


def _settle_memory() -> None:
    """Take what start-up made out of the collector's sight: it lives as long as the process.

    What calls leave behind is collected in small portions: of 20,000 objects at a time it holds up
    every call for several milliseconds, and the p99 of a cache hit at 1,000 a second is twice as
    long. Older generations are looked at rarely, since calls make few things that last.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 50)


def _rows(name: str, settings: CommonSettings) -> TelemetryRows | None:
    """Return what keeps the calls of a service in PostgreSQL, where there is one."""
    if settings.postgres_url is None or not settings.request_log:
        return None
    return TelemetryRows(name, settings.postgres_url.get_secret_value())


async def _drain_step(part: str, step: Hook) -> None:
    """Do one step; if it fails, the others still have to be done."""
    try:
        await step()
    except Exception:
        log.exception("drain_step_failed", part=part)


def run_service(name: str, settings_type: type[S], build: Callable[[S], Service]) -> None:
    """Be the process of a service: settings → service → run → exit."""
    settings = load_settings(settings_type)
    configure_logs(
        name,
        level=settings.log_level,
        log_format=settings.log_format,
        environment=settings.environment,
        successes_per_second=settings.log_successes_per_second,
    )
    if settings.processes > 1 and not is_worker_process():
        raise SystemExit(supervise(settings.processes))

    async def main() -> int:
        return await build(settings).main()

    try:
        configure_tracing(name, settings)
        configure_sentry(name, settings)
        raise SystemExit(uvloop.run(main()))
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None
    finally:
        flush_sentry()
