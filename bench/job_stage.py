"""Where jobs are measured: a PostgreSQL, one process of the service on it, and workers' processes.

Rivals use databases of their own in the same PostgreSQL, and a Redis where they need one.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from bench.job_contenders import CAPPED, NOOP, PAUSE, STEPS, UNSERVED, Contender
from bench.job_ledger import Ledger
from bench.job_mainstay import SCHEMA, declare, event_name
from bench.server import REPOSITORY, Server, serve
from cli.embedded.postgres import ROLE, PostgresServer
from cli.embedded.redis import RedisServer
from cli.ports import free_port

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
LOOK_EVERY = 0.01


class WorkerProcess:
    """A worker; `stop` asks it to drain, `signal` treats it worse."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._usage = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """Return user and system time since its start."""
        return _cpu_seconds(self._usage)

    async def stop(self) -> None:
        """Ask it to drain and wait until it has."""
        self._process.terminate()
        await self._hear("stopped", STOP_TIMEOUT)

    async def until_ready(self) -> None:
        """Wait until it can be given jobs."""
        await self._hear("ready", START_TIMEOUT)

    async def _hear(self, line: str, seconds: float) -> None:
        assert self._process.stdout is not None, "is a pipe"
        async with asyncio.timeout(seconds):
            while (heard := await asyncio.to_thread(self._process.stdout.readline)) != f"{line}\n":
                if not heard:
                    raise RuntimeError(f"a worker ended before it said {line!r}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        self._process.send_signal(number)

    async def end(self) -> None:
        """End it, whatever state it is in."""
        self._process.kill()
        await asyncio.to_thread(self._process.communicate)


class Stage:
    """The servers of one measurement."""

    def __init__(
        self, directory: Path, postgres: PostgresServer, redis: RedisServer, service: Server
    ) -> None:
        self.service = service
        self.postgres = postgres
        self._redis = redis
        self._directory = directory
        self._ledgers = 0
        self._databases: set[str] = set()

    async def address(self, contender: Contender) -> str:
        """Return where a contender's jobs are, made ready at the first call."""
        match contender.store:
            case "service":
                return self.service.address
            case "redis":
                return self._redis.url
            case _:
                return await self._database(self.database_of(contender))

    def database_of(self, contender: Contender) -> str:
        """Return the name of the database that it keeps its jobs in."""
        return ROLE if contender.store == "service" else f"bench_{contender.name}"

    async def _database(self, name: str) -> str:
        if name not in self._databases:
            self._databases.add(name)
            await self.query(f"CREATE DATABASE {name}")
        return self.postgres.url_of(name)

    async def query(self, statement: str) -> list[asyncpg.Record]:
        """Run a statement in a database that nobody else is connected to."""
        connection = await asyncpg.connect(self.postgres.url_of("postgres"))
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    def ledger(self, jobs: int) -> Ledger:
        """Return an empty ledger."""
        self._ledgers += 1
        return Ledger.create(self._directory / f"ledger-{self._ledgers}", jobs)

    def store_cpu_seconds(self, contender: Contender) -> float:
        """Return the CPU time of what is between a producer and a worker: service and store."""
        if contender.store == "redis":
            return _family_cpu_seconds(self._redis.child.pid)
        postgres = _family_cpu_seconds(self.postgres.child.pid)
        return postgres + (self.service.cpu_seconds() if contender.store == "service" else 0.0)

    @asynccontextmanager
    async def worker(
        self, contender: Contender, ledger: Ledger, *, concurrency: int, tenant: str = ""
    ) -> AsyncIterator[WorkerProcess]:
        """Run a worker until the block ends."""
        address = await self.address(contender)
        arguments = (contender.name, address, str(ledger.path), str(concurrency), tenant)
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.job_worker", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        worker = WorkerProcess(process)
        try:
            await worker.until_ready()
            yield worker
        finally:
            await worker.end()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start the servers, with the event schemas of the measurements."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = PostgresServer(directory / "postgres", create_databases=True)
        await stack.enter_async_context(postgres)
        port = free_port()
        environment = {
            "MAINSTAY_POSTGRES_URL": postgres.url,
            "MAINSTAY_JOBS_PORT": str(port),
            "MAINSTAY_JOBS_OPS_PORT": str(free_port()),
            "MAINSTAY_POLICIES_DIR": str(_policies(directory)),
        }
        service = await stack.enter_async_context(serve("services.jobs", port, environment))
        redis = RedisServer(directory / "redis", appendonly=True)
        await stack.enter_async_context(redis)
        place = Stage(directory, postgres, redis, service)
        await declare(service.address, place.ledger(1))
        yield place


def _policies(directory: Path) -> Path:
    """Return the policies of the project and the schemas of the measurements' events."""
    policies = directory / "policies"
    shutil.copytree(REPOSITORY / "policies", policies)
    for work in (NOOP, PAUSE, STEPS, UNSERVED, CAPPED):
        marks = {"x-mainstay-event": event_name(work), "x-mainstay-version": 1}
        schema = {"title": event_name(work), **marks, **SCHEMA}
        (policies / "events" / f"bench.{work}.v1.json").write_text(json.dumps(schema))
    return policies


async def until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Wait for what others do; raises TimeoutError when they do not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(LOOK_EVERY)


async def attempt(
    contender: Contender, work: Awaitable[object], *, seconds: float, failures: list[str]
) -> bool:
    """Do a rival's part in a bounded time; what it cannot do becomes a line of the report."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except Exception as error:
        if contender.store == "service":
            raise
        late = isinstance(error, TimeoutError)
        why = f"not within {seconds:g} s" if late else f"failed with {error!r}"
        if (failure := f"{contender.name}: {why}.") not in failures:
            failures.append(failure)
    else:
        return True
    return False


def _family_cpu_seconds(pid: int) -> float:
    family = psutil.Process(pid)
    return sum(_cpu_seconds(each) for each in [family, *family.children(recursive=True)])


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Children that have ended are counted by their parent.
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + ended)
