"""Everything a run consists of: two replicas of each service, two workers, Redis, PostgreSQL."""

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cli.embedded.postgres import ROLE
from cli.embedded.server import EmbeddedServerError
from cli.ports import free_ports
from cli.process import Command
from tests.faults.jobs_suite.process import Process
from tests.faults.jobs_suite.stage import ROOT, Database, create_database, write_policies
from tests.faults.suite import clock
from tests.faults.suite.promises import Rule
from tests.faults.suite.stores import POSTGRES, REDIS, DurableRedis, Store, WiredPostgres
from tests.faults.suite.wiring import CALLERS, Wiring

SERVICES = ("cache", "ratelimit", "jobs", "health")
REPLICAS = (1, 2)
WORKERS = ("worker-1", "worker-2")
DATABASE = "faults"
START_SECONDS = 90.0
# The default of 0.25 s is for machines that have nothing else to do; this one runs all parties, the
# callers and their links.
REDIS_SECONDS = 1.0
_KNOWN = "SELECT count(*) FROM jobs.sessions WHERE functions @> ARRAY['noop']"
RULES = {
    "shared": Rule(limit=30, window=10.0, mode="local"),
    "open_rule": Rule(limit=30, window=10.0, mode="open"),
    "closed_rule": Rule(limit=30, window=10.0, mode="closed"),
}
ENDPOINTS = {"shared": "shared", "open_rule": "open", "closed_rule": "closed"}
# As in the suite of the jobs: a worker that is lost is missed soon.
_TERMS = {
    "MAINSTAY_JOBS_SESSION_LEASE": "3",
    "MAINSTAY_JOBS_HEARTBEAT_INTERVAL": "1",
    "MAINSTAY_JOBS_RESUME_WINDOW": "1",
}


class Party(Protocol):
    """Something that runs, and can be ended and started again."""

    name: str
    starts: int

    @property
    def runs(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    def send(self, number: signal.Signals) -> None: ...

    def how_it_ended(self) -> str: ...


def replicas(service: str) -> list[str]:
    """Return the names of a service's replicas."""
    return [f"{service}-{number}" for number in REPLICAS]


SERVICE_PARTIES = [name for service in SERVICES for name in replicas(service)]
PARTIES = [CALLERS, REDIS, POSTGRES, *SERVICE_PARTIES, *WORKERS]


@dataclass(slots=True, kw_only=True)
class Stage:
    """What runs.

    Attributes:
        wiring: The network between.
        folder: Where everything lies; `logs` is what the parties write.
        parties: By name.
        ports: The gRPC ports of the replicas.
        database: A view on the rows of everybody, past all that fails.
        down: The parties that are ended on purpose just now; others are started again.
        ended: What ended by itself, in words, with when.
        starts: When each replica of a service began to start, by name.

    """

    wiring: Wiring
    folder: Path
    parties: dict[str, Party]
    ports: dict[str, int]
    database: Database
    down: set[str] = field(default_factory=set)
    ended: list[tuple[float, str]] = field(default_factory=list)
    starts: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ledgers(self) -> Path:
        return self.folder / "ledgers"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    async def start(self, name: str) -> None:
        """Start a party; it is to run from now on."""
        self.starts.setdefault(name, []).append(time.monotonic())
        with contextlib.suppress(EmbeddedServerError):  # whoever keeps it tries again
            await self.parties[name].start()
        self.down.discard(name)

    async def kill(self, name: str) -> None:
        """End a party with SIGKILL; it stays down."""
        self.down.add(name)
        await self.parties[name].kill()

    async def stop(self, name: str) -> None:
        """End a party in order; it stays down."""
        self.down.add(name)
        await self.parties[name].stop()

    async def keep(self) -> None:
        """Start whatever ended by itself, as a supervisor would; for a background task."""
        while True:
            for name, party in self.parties.items():
                if name in self.down or party.runs:
                    continue
                self.ended.append((time.monotonic(), f"{name} {party.how_it_ended()}"))
                self.down.add(name)
                await self.start(name)
            await asyncio.sleep(0.3)

    async def target(self, source: str, service: str, *, first: int = 1) -> str:
        """Return the gRPC target by which a party reaches a service, one replica preferred."""
        addresses = [
            await self.wiring.address(source, name, self.ports[name]) for name in replicas(service)
        ]
        return "ipv4:" + ",".join(addresses[first - 1 :] + addresses[: first - 1])

    def direct(self, service: str, *, first: int = 1) -> str:
        """Return the target that passes no link."""
        names = replicas(service)
        addresses = [f"{self.wiring.host(name)}:{self.ports[name]}" for name in names]
        return "ipv4:" + ",".join(addresses[first - 1 :] + addresses[: first - 1])

    async def ready(self) -> None:
        """Wait until every replica takes calls."""
        processes = [self.parties[name] for name in SERVICE_PARTIES]
        await asyncio.gather(*(p.answers() for p in processes if isinstance(p, Process)))

    async def workers_known(self, count: int) -> None:
        """Wait until the jobs service knows so many workers."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                ((known,),) = await self.database.fetch(_KNOWN)
                if known >= count:
                    return
                await asyncio.sleep(0.05)

    async def freeze(self) -> None:
        """End everything but PostgreSQL."""
        for name in self.parties:
            if name != POSTGRES:
                await self.kill(name)


@asynccontextmanager
async def running_stage(wiring: Wiring, folder: Path) -> AsyncIterator[Stage]:
    """Run everything within the block; `folder` may hold `postgres` and `logs`, disks of a size."""
    for name in ("ledgers", "logs", "locks", "clocks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write_all_policies(folder / "policies")
    redis = DurableRedis(folder / "redis", appendonly=True)
    postgres = WiredPostgres(folder / "postgres" / "cluster", fsync=False, create_databases=True)
    redis.wiring = postgres.wiring = wiring
    async with AsyncExitStack() as stack:
        for server in (redis, postgres):
            await stack.enter_async_context(server)
        database = Database(await create_database(postgres, DATABASE))
        stack.push_async_callback(database.close)
        ports = dict(zip(SERVICE_PARTIES, free_ports(len(SERVICE_PARTIES)), strict=True))
        stage = Stage(
            wiring=wiring,
            folder=folder,
            parties={REDIS: Store(redis), POSTGRES: Store(postgres)},
            ports=ports,
            database=database,
        )
        builder = _Builder(stage, redis.port, postgres.port)
        for name in (*SERVICE_PARTIES, *WORKERS):
            process = await builder.process(name)
            stage.parties[name] = process
            stack.push_async_callback(process.kill)
            await stage.start(name)
        async with asyncio.timeout(START_SECONDS):
            await stage.ready()
        yield stage


class _Builder:
    """Makes the processes: what each is told is where it reaches the others."""

    def __init__(self, stage: Stage, redis_port: int, postgres_port: int) -> None:
        self._stage = stage
        self._redis_port = redis_port
        self._postgres_port = postgres_port

    async def process(self, name: str) -> Process:
        """Return the process of a party."""
        service = name.partition("-")[0]
        wiring, port = self._stage.wiring, self._stage.ports.get(name, 0)
        if service == "worker":
            target = await self._stage.target(name, "jobs")
            module = "tests.faults.jobs_suite.worker_process"
            arguments = [module, target, str(self._stage.ledgers), name]
            command = self._command(name, arguments, {})
        else:
            environment = await self._environment(name, service)
            command = self._command(name, [f"services.{service}"], environment)
        placed = wiring.placed(name, command)
        return Process(name, placed, host=wiring.host(name), port=port)

    async def _environment(self, name: str, service: str) -> dict[str, str]:
        address, stage = self._stage.wiring.address, self._stage
        redis = await address(name, REDIS, self._redis_port)
        postgres = await address(name, POSTGRES, self._postgres_port)
        upper = service.upper()
        settings = {
            "HOST": stage.wiring.host(name),
            "REDIS_URL": f"redis://{redis}/0",
            "POSTGRES_URL": f"postgresql://{ROLE}@{postgres}/{DATABASE}",
            "POSTGRES_POOL_SIZE": "5",
            "REDIS_TIMEOUT": f"{REDIS_SECONDS:g}",
            "POLICIES_DIR": str(stage.folder / "policies"),
            "LOG_FORMAT": "json",
            f"{upper}_PORT": str(stage.ports[name]),
            f"{upper}_OPS_PORT": "0",
        }
        match service:
            case "ratelimit":
                settings["RATELIMIT_CACHE_ADDRESS"] = await stage.target(name, "cache")
                settings["RATELIMIT_JOBS_ADDRESS"] = await stage.target(name, "jobs")
            case "jobs":
                settings["JOBS_RATELIMIT_ADDRESS"] = await stage.target(name, "ratelimit")
            case "health":
                settings["HEALTH_HTTP_PORT"] = "0"
                settings["HEALTH_DISK_PATHS"] = ""
                for other in ("cache", "ratelimit", "jobs"):
                    listed = (await stage.target(name, other)).removeprefix("ipv4:")
                    settings[f"HEALTH_{other.upper()}_ADDRESS"] = listed
        told = {f"MAINSTAY_{key}": value for key, value in settings.items()}
        terms = _TERMS if service == "jobs" else {}
        return {**told, **terms, **clock.environment(stage.folder / "clocks", name)}

    def _command(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Command:
        return Command(
            name=name,
            argv=[sys.executable, "-m", *arguments],
            directory=ROOT,
            log=self._stage.logs / f"{name}.log",
            lock=self._stage.folder / "locks" / f"{name}.lock",
            environment=environment,
        )


def _write_all_policies(folder: Path) -> None:
    """Write those of the jobs' suite, the events and classes of the project, and our limits."""
    if folder.exists():
        return
    write_policies(folder)
    shutil.copytree(ROOT / "policies" / "events", folder / "events", dirs_exist_ok=True)
    shutil.copy(ROOT / "policies" / "cache.yaml", folder)
    lines = ["version: 1", "limits:"]
    for name, rule in RULES.items():
        lines += [
            f"  - name: {name}",
            f"    endpoints: [{ENDPOINTS[name]}]",
            f"    default: {rule.limit}/{rule.window:g}s",
            f"    on_failure: {rule.mode}",
        ]
    lines += ["  - name: free", '    endpoints: ["*"]', "    default: unlimited"]
    (folder / "ratelimit.yaml").write_text("\n".join(lines) + "\n")
