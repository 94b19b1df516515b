"""Everything that a run consists of: a PostgreSQL, replicas, workers, and the links between them.

Every replica reaches PostgreSQL over a link of its own; every worker, and whoever sends jobs,
reaches the replicas over a link that connects to the next one that can be reached, as a load
balancer would. All are processes of their own, and end with this one.
"""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from cli.embedded.postgres import ROLE, PostgresServer
from cli.ports import free_ports
from cli.process import Command
from tests.faults.jobs_suite.functions import BODIES, TRIGGERED, event_of
from tests.faults.jobs_suite.link import Link
from tests.faults.jobs_suite.process import PATIENCE, Process
from tests.faults.jobs_suite.worker_process import CLOCK

# What is said of a PostgreSQL that is not there, goes or comes.
GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    # A connection that was lost in the middle of a message, and one that a full server refuses.
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
)
ROOT = Path(__file__).parents[3]
REPLICAS = 2
HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What is put on a stage; a worker for each of the errors of their clocks, in seconds.

    `terms` are settings of the service, beside those that it finds in the environment.
    """

    clocks: tuple[float, ...] = (0.0, HOUR, -HOUR, 0.0)
    terms: Mapping[str, str] = field(default_factory=dict)


class Player(Process):
    """A process behind a link of its own; whoever breaks it holds `lock` meanwhile."""

    def __init__(self, name: str, command: Command, link: Link, port: int = 0) -> None:
        super().__init__(name, command, port=port)
        self.link = link
        self.lock = asyncio.Lock()


class Database:
    """Looks at the rows of everybody, past all links; goes on when PostgreSQL was restarted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Return the rows; waits for PostgreSQL, up to a minute."""
        async with self._lock, asyncio.timeout(PATIENCE):
            while True:
                try:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await self.connect()
                    return list(await self._connection.fetch(statement, *arguments))
                except GONE:
                    await self.close()
                    await asyncio.sleep(0.05)

    async def connect(self) -> asyncpg.Connection:
        """Return a connection of its own."""
        connection = await asyncpg.connect(self.url, timeout=5, ssl=False)
        # What is asked is about few rows, some of them in tables of many.
        await connection.execute(
            "SET mainstay.tenant = '*'; SET enable_seqscan = off; "
            "SET enable_hashjoin = off; SET enable_mergejoin = off"
        )
        return connection

    async def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What runs; `ledgers` is the folder of the workers' ledgers, `link` is for who sends jobs."""

    postgres: PostgresServer
    database: Database
    servers: list[Player]
    workers: list[Player]
    link: Link
    ledgers: Path

    @property
    def links(self) -> list[Link]:
        """All links, those to PostgreSQL first."""
        return [*(p.link for p in (*self.servers, *self.workers)), self.link]

    async def heal(self) -> None:
        """Have everything run, whatever was done to it."""
        for link in self.links:
            link.delay = 0.0
        for player in (*self.servers, *self.workers):
            player.send(signal.SIGCONT)
            if not player.runs:
                await player.start()

    async def freeze(self) -> None:
        """End everything but PostgreSQL."""
        for player in (*self.workers, *self.servers):
            await player.kill()

    async def workers_known(self, count: int) -> None:
        """Wait until the service knows so many workers."""
        async with asyncio.timeout(PATIENCE):
            while True:
                ((known,),) = await self.database.fetch(
                    "SELECT count(*) FROM jobs.sessions WHERE tenant = '*' "
                    "AND functions @> $1::text[]",
                    [*BODIES],
                )
                if known >= count:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_stage(
    postgres: PostgresServer, folder: Path, size: Size, *, database: str
) -> AsyncIterator[Stage]:
    """Run everything within the block, on a database of that name that is made for it."""
    (ledgers := folder / "ledgers").mkdir(parents=True)
    write_policies(folder / "policies")
    url = await create_database(postgres, database)
    async with AsyncExitStack() as stack:
        servers = []
        for number, port in enumerate(free_ports(REPLICAS), start=1):
            link = await stack.enter_async_context(Link.to(postgres.port))
            command = _service(f"server-{number}", port, link, folder, size, database)
            servers.append(await _started(stack, Player(command.name, command, link, port)))
        await asyncio.gather(*(server.answers() for server in servers))
        workers = []
        ports = [server.port for server in servers]
        for number, clock in enumerate(size.clocks, start=1):
            link = await stack.enter_async_context(Link.to(*ports))
            command = _worker(f"worker-{number}", link, folder, clock)
            workers.append(await _started(stack, Player(command.name, command, link)))
        stage = Stage(
            postgres=postgres,
            database=Database(url),
            servers=servers,
            workers=workers,
            link=await stack.enter_async_context(Link.to(*ports)),
            ledgers=ledgers,
        )
        stack.push_async_callback(stage.database.close)
        await stage.workers_known(len(workers))
        yield stage


async def _started(stack: AsyncExitStack, player: Player) -> Player:
    stack.push_async_callback(player.kill)
    await player.start()
    return player


def _service(name: str, port: int, link: Link, folder: Path, size: Size, database: str) -> Command:
    return _command(
        name,
        folder,
        ["services.jobs"],
        {
            "MAINSTAY_POSTGRES_URL": f"postgresql://{ROLE}@{link.address}/{database}",
            "MAINSTAY_JOBS_PORT": str(port),
            "MAINSTAY_JOBS_OPS_PORT": "0",
            "MAINSTAY_POLICIES_DIR": str(folder / "policies"),
            "MAINSTAY_LOG_LEVEL": "info",
            "MAINSTAY_LOG_FORMAT": "json",
            **size.terms,
        },
    )


def _worker(name: str, link: Link, folder: Path, clock: float) -> Command:
    module = "tests.faults.jobs_suite.worker_process"
    arguments = [module, link.address, str(folder / "ledgers"), name]
    return _command(name, folder, arguments, {CLOCK: str(clock)})


def _command(
    name: str, folder: Path, arguments: list[str], environment: Mapping[str, str]
) -> Command:
    return Command(
        name=name,
        argv=[sys.executable, "-m", *arguments],
        directory=ROOT,
        log=folder / f"{name}.log",
        lock=folder / f"{name}.lock",
        environment=environment,
    )


async def create_database(postgres: PostgresServer, name: str) -> str:
    """Make an empty database and return its URL."""
    connection = await asyncpg.connect(postgres.url, ssl=False)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return postgres.url_of(name)


def write_policies(folder: Path) -> None:
    """Write a policies folder with schemas that take any object."""
    (events := folder / "events").mkdir(parents=True)
    shutil.copy(ROOT / "policies" / "jobs.yaml", folder)
    for name in (*map(event_of, TRIGGERED), "faults/news"):
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": "Something for a worker of the fault suite.",
            "x-mainstay-event": name,
            "x-mainstay-version": 1,
            "type": "object",
        }
        (events / f"{name.replace('/', '.')}.v1.json").write_text(json.dumps(schema))
