"""The suite as processes: Redis and PostgreSQL when no address is set, then the four services."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.credentials import http_scheme
from cli.embedded.postgres import APP_ROLE
from cli.embedded.server import EmbeddedServer, EmbeddedServerError
from cli.embedded.stores import embedded_postgres, embedded_redis
from cli.layout import Layout, ServiceAddress
from cli.migrate import all_migrations, grant_all
from cli.paths import shown
from cli.port_check import port_problem
from cli.process import Child, ChildError, Command, end_left_over
from cli.readiness import why_not_ready
from cli.run_directory import RunDirectory
from cli.settings import SuiteSettings
from mainstay.errors import MainstayError

READY_TIMEOUT = 30.0
READY_POLL_INTERVAL = 0.05
WATCH_INTERVAL = 0.1
KILL_AFTER_GRACE = 2.0  # a service that outlives its own grace by this much is killed


class SuiteError(Exception):
    """The suite cannot run; the message names the part, the reason and its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A part of the suite that became ready."""

    name: str
    address: str
    details: str
    milliseconds: float


Announce = Callable[[Started], None]


class Suite:
    """Everything that `mainstay up` runs, under one data directory. An async context manager.

    Leaving the context stops all of it, also after a start that failed.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        layout: Layout,
        settings: SuiteSettings,
        environment: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """`environment` returns what the process of a name is told beside all addresses."""
        self.layout = layout
        self.directory = RunDirectory(data_dir.absolute())
        self._settings = settings
        self._environment = environment
        ports = layout.embedded_ports
        self._redis = (
            None if settings.redis_url else embedded_redis(self.directory, port=ports.redis)
        )
        self._postgres = (
            None
            if settings.postgres_url
            else embedded_postgres(self.directory, port=ports.postgres)
        )
        self._processes: list[Child] = []

    async def __aenter__(self) -> Self:
        """Reserve the data directory. Raises RunDirectoryTakenError."""
        self.directory.take()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stop()
        finally:
            self.directory.release()

    async def start(self, announce: Announce) -> None:
        """Start everything and wait until all of it is ready. Raises SuiteError."""
        await _together(self._end_left_over(service) for service in self.layout.services)
        if problem := port_problem(self.layout):
            raise SuiteError(problem)
        await _together(self._start_store(server, announce) for server in self._stores)
        await self._migrate()
        self.directory.write_addresses(self.addresses, given=self._given)
        # Health asks the others before it is ready and believes what it sees first: it comes last,
        # or the report would begin with an outage that never was.
        *probed, health = self.layout.services
        await _together(self._start_service(service, announce) for service in probed)
        await self._start_service(health, announce)

    async def first_exit(self) -> Child:
        """Wait until one of the processes ends, however it does."""
        children = [*self._processes, *(server.child for server in self._stores)]
        while True:
            for child in children:
                if child.returncode is not None:
                    return child
            await asyncio.sleep(WATCH_INTERVAL)

    @property
    def addresses(self) -> dict[str, str]:
        """The variables by which other commands find this suite; without secrets."""
        variables = self.layout.environment()
        if self._redis is not None:
            variables["MAINSTAY_REDIS_URL"] = self._redis.url
        if self._postgres is not None:
            variables["MAINSTAY_POSTGRES_URL"] = self._postgres.url
        return variables

    @property
    def _database_of_services(self) -> dict[str, str]:
        """The variables by which services get the role that owns nothing."""
        if self._postgres is None:
            return {}
        return {
            "MAINSTAY_POSTGRES_URL": self._postgres.app_url,
            "MAINSTAY_POSTGRES_MIGRATE": "false",
        }

    @property
    def _stores(self) -> list[EmbeddedServer]:
        return [server for server in (self._redis, self._postgres) if server is not None]

    @property
    def _given(self) -> list[str]:
        """The variables of stores that run elsewhere: their values may hold passwords."""
        given = {
            "MAINSTAY_REDIS_URL": self._settings.redis_url,
            "MAINSTAY_POSTGRES_URL": self._settings.postgres_url,
        }
        return [variable for variable, url in given.items() if url is not None]

    async def _end_left_over(self, service: ServiceAddress) -> None:
        """End what a suite that was killed left on this directory: it would hold the port."""
        try:
            await end_left_over(service.name, self.directory.lock(service.name))
        except ChildError as exc:
            raise SuiteError(str(exc)) from exc

    async def _start_store(self, server: EmbeddedServer, announce: Announce) -> None:
        begun = time.perf_counter()
        try:
            await server.start()
        except EmbeddedServerError as exc:
            raise SuiteError(str(exc)) from exc
        announce(_started(server.name, f"127.0.0.1:{server.port}", "embedded", begun))

    async def _migrate(self) -> None:
        """Migrate an own PostgreSQL as its owner; services run as a role that could not."""
        if self._postgres is None or not self._settings.postgres_migrate:
            return
        try:
            for migrations in all_migrations():
                await migrations.apply(self._postgres.url)
            await grant_all(self._postgres.url, APP_ROLE)
        except MainstayError as exc:
            raise SuiteError(f"the embedded PostgreSQL was not migrated: {exc}") from exc

    async def _start_service(self, service: ServiceAddress, announce: Announce) -> None:
        begun = time.perf_counter()
        child = await self.spawn(service.name, f"services.{service.name}")
        await _until_ready(child, service)
        details = f"operations {http_scheme()}://{service.ops_address}"
        announce(_started(service.name, service.address, details, begun))

    async def spawn(self, name: str, module: str) -> Child:
        """Run a Python module as a part of the suite: same variables, log and end."""
        command = Command(
            name=name,
            argv=[sys.executable, "-m", module],
            directory=Path.cwd(),
            log=self.directory.log(name),
            lock=self.directory.lock(name),
            environment={
                **self.addresses,
                **self._database_of_services,
                "MAINSTAY_POLICIES_DIR": str(self._settings.policies_dir.absolute()),
                **self._environment(name),
            },
        )
        try:
            child = await Child.start(command)
        except ChildError as exc:
            raise SuiteError(str(exc)) from exc
        self._processes.append(child)
        return child

    async def _stop(self) -> None:
        """Stop the services, then what they depend on; by force when this is interrupted."""
        grace = self._settings.shutdown_delay + self._settings.shutdown_grace + KILL_AFTER_GRACE
        try:
            await asyncio.gather(*(child.stop(grace=grace) for child in self._processes))
            await asyncio.gather(*(server.stop() for server in self._stores))
        except asyncio.CancelledError:
            await asyncio.gather(*(child.kill() for child in self._processes))
            await asyncio.gather(*(server.kill() for server in self._stores))
            raise


def _started(name: str, address: str, details: str, begun: float) -> Started:
    milliseconds = (time.perf_counter() - begun) * 1000
    return Started(name=name, address=address, details=details, milliseconds=milliseconds)


async def _until_ready(child: Child, service: ServiceAddress) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    for address in service.ops_addresses:
        while problem := await why_not_ready(address, service.name):
            if child.returncode is not None:
                raise SuiteError(
                    f"{child.name} {child.how_it_ended()} while starting; {_log(child)}"
                )
            if time.monotonic() > deadline:
                raise SuiteError(
                    f"{child.name} was not ready within {READY_TIMEOUT:.0f} s "
                    f"({http_scheme()}://{address}/readyz: {problem}); {_log(child)}"
                )
            await asyncio.sleep(READY_POLL_INTERVAL)


def _log(child: Child) -> str:
    return f"log: {shown(child.command.log)}\n{child.log_tail()}"


async def _together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run concurrently; the first SuiteError ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except* SuiteError as errors:
        raise errors.exceptions[0] from None
