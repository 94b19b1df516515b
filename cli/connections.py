"""Everything the suite consists of, each with the question that shows whether it can be reached."""

import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from cli.credentials import credentials_to, http_authorization, https_context
from cli.layout import Layout, ServiceAddress
from cli.probe import HTTP_OK, ProbeError, http_get
from cli.readiness import why_not_ready
from cli.settings import SuiteSettings
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.link import RedisReplyError
from shared.redis.seeds import seed_urls

LONGEST_WAIT = 5.0
UNKNOWN_PLACE = "-"
HEALTHY = "healthy"
SERVICE_HINT = "run `mainstay up`; if it runs, its logs say more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Something to be reached: `ask` raises when it cannot be."""

    name: str
    title: str = ""  # what it is called in a sentence
    address: str
    ask: Callable[[], Awaitable[None]]
    hint: str


def connections(settings: SuiteSettings, *, given: Collection[str] = ()) -> list[Connection]:
    """Return everything the suite consists of, in the order of the table.

    `given` names the variables that hold the addresses of stores for the suite that runs, where
    this environment lacks them.
    """
    layout = Layout.from_settings(settings)
    return [
        *(_store_or_trace(store, given, layout.http_address) for store in _stores(settings)),
        *(_grpc(service) for service in layout.services),
        *(_operations(service) for service in layout.services),
        _report(layout.http_address),
    ]


def given_stores(settings: SuiteSettings) -> list[Connection]:
    """Return the stores that run elsewhere."""
    return [_given(store, store.url) for store in _stores(settings) if store.url is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    name: str
    title: str
    component: str  # in the health report
    url: SecretStr | None
    ask: Callable[[str], Awaitable[None]]

    @property
    def variable(self) -> str:
        return f"MAINSTAY_{self.name.upper()}_URL"


def _stores(settings: SuiteSettings) -> tuple[_Store, ...]:
    return (
        _Store(
            name="redis",
            title="Redis",
            component="redis",
            url=settings.redis_url,
            ask=_ask_redis,
        ),
        _Store(
            name="postgres",
            title="PostgreSQL",
            component="database",
            url=settings.postgres_url,
            ask=_ask_postgres,
        ),
    )


def _store_or_trace(store: _Store, given: Collection[str], report: str) -> Connection:
    if store.url is not None:
        return _given(store, store.url)
    if store.variable in given:
        return _seen_by_health(store, report)
    return Connection(
        name=store.name,
        title=store.title,
        address=UNKNOWN_PLACE,
        ask=_not_set,
        hint=f"run `mainstay up`, or set {store.variable}",
    )


def _given(store: _Store, url: SecretStr) -> Connection:
    secret = url.get_secret_value()
    places = [_place(each) for each in seed_urls(secret)]
    if None in places:
        return Connection(
            name=store.name,
            title=store.title,
            address=UNKNOWN_PLACE,
            ask=_not_readable,
            hint=(
                f"write {store.variable} with %-escapes for what has a meaning in URLs, "
                "such as %2F for a / in the password"
            ),
        )
    return Connection(
        name=store.name,
        title=store.title,
        address=",".join(place for place in places if place),
        ask=lambda: store.ask(secret),
        hint=f"is it running, and is {store.variable} right?",
    )


def _place(url: str) -> str | None:
    """Return `host:port`, or None for a URL of which any part may be the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if "@" in parts.path + parts.fragment:  # what looks like the host is half a password
        return None
    return f"{parts.hostname}:{port}" if port else str(parts.hostname or parts.path)


async def _not_readable() -> None:
    raise ProbeError("not a URL", permanent=True)


def _seen_by_health(store: _Store, report: str) -> Connection:
    """Believe health, which knows the address: it holds a password, so nobody writes it down."""

    async def ask() -> None:
        _, body = await _get_report(report)
        try:
            state = json.loads(body)["checks"][store.component]["status"]
        except (ValueError, KeyError, TypeError):
            raise ProbeError("health does not say") from None
        if state != HEALTHY:
            raise ProbeError(f"{state}, says health")

    return Connection(
        name=store.name,
        title=store.title,
        address="(by health)",
        ask=ask,
        hint=f"is it running? Set {store.variable} here too, to ask it directly",
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


def _grpc(service: ServiceAddress) -> Connection:
    async def ask() -> None:
        credentials = credentials_to(service.address)
        async with Channel(
            service.address, timeout=LONGEST_WAIT, credentials=credentials
        ) as channel:
            stub = health_pb2_grpc.HealthStub(channel.raw)
            answer = await channel.unary(stub.Check, health_pb2.HealthCheckRequest())
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ProbeError("answers, but takes no calls")

    return Connection(name=service.name, address=service.address, ask=ask, hint=SERVICE_HINT)


def _operations(service: ServiceAddress) -> Connection:
    async def ask() -> None:
        if problem := await why_not_ready(service.ops_address, service.name, seconds=LONGEST_WAIT):
            raise ProbeError(problem)

    return Connection(
        name=f"{service.name} operations",
        address=service.ops_address,
        ask=ask,
        hint=SERVICE_HINT,
    )


async def _get_report(address: str) -> tuple[int, bytes]:
    return await http_get(
        address,
        "/health",
        seconds=LONGEST_WAIT,
        tls=https_context(),
        authorization=http_authorization(address),
    )


def _report(address: str) -> Connection:
    async def ask() -> None:
        status, _ = await _get_report(address)
        if status != HTTP_OK:
            raise ProbeError(f"unhealthy (HTTP {status}); it says which part")

    return Connection(
        name="health report",
        address=address,
        ask=ask,
        hint=SERVICE_HINT,
    )
