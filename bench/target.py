"""A service under measurement, with a Redis of its own."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from redis.asyncio import Redis

from bench.server import Server, serve
from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.channel import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running service.

    Attributes:
        service: Its process.
        redis_url: Where its Redis listens; others may use it too.
        redis: A connection that looks at what Redis did.

    """

    service: Server
    redis_url: str
    redis: Redis

    @property
    def address(self) -> str:
        """Where the service listens."""
        return self.service.address

    async def redis_cpu_seconds(self) -> float:
        """Return user and system time of Redis since its start."""
        cpu = await self.redis.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    async def commands(self) -> dict[str, int]:
        """Return how often Redis ran each command, except for the ones that ask for this."""
        found: dict[str, dict[str, int]] = await self.redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
        calls.pop("info", None)
        return calls


@asynccontextmanager
async def cache_service(environment: Mapping[str, str] | None = None) -> AsyncIterator[Target]:
    """Run one process of the cache on an empty Redis until the block ends."""
    async with _service("cache", environment or {}) as target:
        yield target


@asynccontextmanager
async def limit_service(policies: Path | None = None) -> AsyncIterator[Target]:
    """Run one process of the rate limits on an empty Redis, with a policy of its own if given."""
    policy = {} if policies is None else {"MAINSTAY_POLICIES_DIR": str(policies)}
    # Without the services beside it, which these calls do not need.
    alone = {"MAINSTAY_RATELIMIT_CACHE_ADDRESS": "", "MAINSTAY_RATELIMIT_JOBS_ADDRESS": ""}
    async with _service("ratelimit", {**alone, **policy}) as target:
        yield target


@asynccontextmanager
async def _service(name: str, environment: Mapping[str, str]) -> AsyncIterator[Target]:
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory) / "redis")
        await server.start()
        port = free_port()
        environment = {
            "MAINSTAY_REDIS_URL": server.url,
            f"MAINSTAY_{name.upper()}_PORT": str(port),
            f"MAINSTAY_{name.upper()}_OPS_PORT": str(free_port()),
            **environment,
        }
        try:
            async with (
                Redis.from_url(server.url) as redis,
                serve(f"services.{name}", port, environment) as service,
            ):
                yield Target(service=service, redis_url=server.url, redis=redis)
        finally:
            await server.stop()


@asynccontextmanager
async def echo_server() -> AsyncIterator[Server]:
    """Run the bare echo until the block ends."""
    port = free_port()
    async with serve("bench.echo_server", port, {"BENCH_PORT": str(port)}) as echo:
        yield echo


class Connection(Channel):
    """A channel that shares its TCP connection with no other channel of the process."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        self.raw = grpc.aio.insecure_channel(target, options=options)
