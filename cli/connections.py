"""Everything the suite consists of, each with the question that shows whether it can be reached."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from cli.layout import Layout, ServiceAddress
from cli.probe import HTTP_OK, ProbeError, http_get
from cli.settings import SuiteSettings
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.link import RedisReplyError

LONGEST_WAIT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Something to be reached: `ask` raises when it cannot be."""

    name: str
    address: str
    ask: Callable[[], Awaitable[None]]
    hint: str


def connections(settings: SuiteSettings) -> list[Connection]:
    """Return everything the suite consists of, in the order of the table."""
    layout = Layout.from_settings(settings)
    return [
        _store("redis", settings.redis_url, _ask_redis),
        _store("postgres", settings.postgres_url, _ask_postgres),
        *(_grpc(service) for service in layout.services),
        *(_operations(service) for service in layout.services),
        _report(layout.http_address),
    ]


def _store(name: str, url: SecretStr | None, ask: Callable[[str], Awaitable[None]]) -> Connection:
    variable = f"MAINSTAY_{name.upper()}_URL"
    if url is None:
        return Connection(
            name=name, address="-", ask=_not_set, hint=f"run `mainstay up`, or set {variable}"
        )
    secret = url.get_secret_value()
    parts = urlsplit(secret)
    return Connection(
        name=name,
        address=f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname),
        ask=lambda: ask(secret),
        hint=f"is it running, and is {variable} right?",
    )


async def _not_set() -> None:
    raise ProbeError("no address")


async def _ask_redis(url: str) -> None:
    client = Redis(url)
    try:
        await client.start()
        await client.ping()
    except RedisReplyError as exc:
        raise ProbeError(str(exc)) from exc
    finally:
        await client.close()


async def _ask_postgres(url: str) -> None:
    pool = Postgres(url, max_size=1, migrate=False)
    try:
        await pool.start()
        await pool.ping()
    except asyncpg.PostgresError as exc:
        raise ProbeError(str(exc)) from exc
    finally:
        await pool.close()


def _hint(service: ServiceAddress) -> str:
    return f"run `mainstay up`, or see {service.name}.log in the logs of the one that runs"


def _grpc(service: ServiceAddress) -> Connection:
    async def ask() -> None:
        async with Channel(service.address, timeout=LONGEST_WAIT) as channel:
            stub = health_pb2_grpc.HealthStub(channel.raw)
            answer = await channel.unary(stub.Check, health_pb2.HealthCheckRequest())
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ProbeError("answers, but takes no calls")

    return Connection(name=service.name, address=service.address, ask=ask, hint=_hint(service))


def _operations(service: ServiceAddress) -> Connection:
    async def ask() -> None:
        status, _ = await http_get(service.ops_address, "/readyz", seconds=LONGEST_WAIT)
        if status != HTTP_OK:
            raise ProbeError(f"not ready (HTTP {status})")

    return Connection(
        name=f"{service.name} operations",
        address=service.ops_address,
        ask=ask,
        hint=_hint(service),
    )


def _report(address: str) -> Connection:
    async def ask() -> None:
        status, _ = await http_get(address, "/health", seconds=LONGEST_WAIT)
        if status != HTTP_OK:
            raise ProbeError(f"the suite is not healthy (HTTP {status})")

    return Connection(
        name="health report",
        address=address,
        ask=ask,
        hint=f"curl http://{address}/health says which part is broken",
    )
