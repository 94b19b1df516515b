"""Redis and replicas are lost under load: what callers of the cache get, meanwhile and after.

The load and the rule that every answer is held to are those of `tests.faults.cache_load`.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from cli.ports import free_port
from mainstay.cache import CacheClient
from mainstay.channel import Channel
from tests.faults.cache_load import CacheLoad, Call, Ledger
from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import ServiceProcess, cache_process, port_of

OPEN_SECONDS = 0.1
RECOVERY_SECONDS = 5.0
START_SECONDS = 60.0
DOCUMENTED = {"ok", "CACHE_UNAVAILABLE"}
# The client itself repeats what is to become stale, up to three times, as late as it is asked to.
REPEATED = {"delete", "invalidate_key", "invalidate_tag", "invalidate_prefix", "invalidate_all"}

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A replica in a process of its own, and what it shows."""

    process: ServiceProcess
    address: str
    ops_port: int

    async def until_breaker(self, *, is_open: bool) -> None:
        """Wait until commands fail at once, or no more."""
        shown = f"\nmainstay_redis_breaker_open {float(is_open)}\n".encode()
        async with asyncio.timeout(20):
            while shown not in (await ask(self.ops_port, "/metrics")).body:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # every look costs the replica some time


@asynccontextmanager
async def replica(redis_url: str, **settings: object) -> AsyncIterator[Served]:
    async with cache_process(redis_url=redis_url, **settings) as process:
        ready = await process.line("service_ready", within=START_SECONDS)
        yield Served(
            process=process, address=ready["address"], ops_port=port_of(ready["operations"])
        )


@asynccontextmanager
async def client(address: str) -> AsyncIterator[CacheClient]:
    async with Channel(address, tenant="acme") as channel, CacheClient(channel) as cache:
        yield cache


@pytest.fixture
async def served(private_redis: RedisServer) -> AsyncIterator[Served]:
    async with replica(private_redis.url) as served:
        yield served


@pytest.fixture
async def cache(served: Served) -> AsyncIterator[CacheClient]:
    async with client(served.address) as cache:
        yield cache


async def _freeze(server: RedisServer) -> None:
    server.pause()


async def _thaw(server: RedisServer) -> None:
    server.resume()


OUTAGES = [
    pytest.param(_freeze, _thaw, id="frozen"),
    pytest.param(RedisServer.kill, RedisServer.start, id="killed_and_restarted"),
]
Change = Callable[[RedisServer], Awaitable[None]]


class TestRedisUnderLoad:
    @pytest.mark.parametrize(("lose", "bring_back"), OUTAGES)
    async def test_is_lost(
        self,
        private_redis: RedisServer,
        served: Served,
        cache: CacheClient,
        lose: Change,
        bring_back: Change,
    ) -> None:
        """Everybody is answered, at once as soon as the breaker is open, and never with old values.

        At once is within 100 ms, and what the same machine takes for calls that need no store.
        """
        load, yardstick = CacheLoad([cache], Ledger()), list[float]()
        async with load.running():
            await load.every_worker(20)
            await lose(private_redis)
            await served.until_breaker(is_open=True)
            opened = time.monotonic()
            async with timing_what_needs_no_store(cache, yardstick):
                await load.every_worker(15, ok=False)
            closing = time.monotonic()
            await bring_back(private_redis)
            back = time.monotonic()
            await served.until_breaker(is_open=False)
            recovered = time.monotonic() - back
            await load.every_worker(30)

        meanwhile = between(load.calls, opened, closing)
        single = [call.seconds for call in meanwhile if call.operation not in REPEATED]
        assert load.ledger.violations == []
        assert {call.outcome for call in load.calls} <= DOCUMENTED
        assert outcomes(meanwhile, "get", "set", "get_many") == {"CACHE_UNAVAILABLE"}
        assert outcomes(meanwhile, "get_or_compute") == {"ok"}
        assert share(single, 0.5) < OPEN_SECONDS + share(yardstick, 0.5)
        assert share(single, 0.95) < OPEN_SECONDS + share(yardstick, 1.0)
        assert recovered < RECOVERY_SECONDS

    async def test_loses_those_who_listen(
        self, private_redis: RedisServer, served: Served, cache: CacheClient
    ) -> None:
        """Messages between replicas that are lost again and again lose nobody an invalidation."""
        async with (
            replica(private_redis.url) as other,
            client(other.address) as there,
            redis.asyncio.Redis.from_url(private_redis.url) as store,
        ):
            load = CacheLoad([cache, there], Ledger())
            async with load.running():
                cut = 0
                for _ in range(6):
                    cut += await store.client_kill_filter(_type="pubsub")
                    await load.every_worker(4)

        assert load.ledger.violations == []
        assert {call.outcome for call in load.calls} == {"ok"}
        assert cut >= 4


class TestReplicaUnderLoad:
    async def test_is_killed_and_started_again(self, private_redis: RedisServer) -> None:
        """Its callers get errors that are transient until it is back; the others notice nothing."""
        port = free_port()
        async with AsyncExitStack() as running:
            dies = await running.enter_async_context(replica(private_redis.url, cache_port=port))
            stays = await running.enter_async_context(replica(private_redis.url))
            clients = [
                await running.enter_async_context(client(served.address))
                for served in (dies, stays)
            ]
            load = CacheLoad(clients, Ledger())
            async with load.running():
                await load.every_worker(10)
                dies.process.send(signal.SIGKILL)
                await load.failure()
                await running.enter_async_context(replica(private_redis.url, cache_port=port))
                await load.every_worker(20)

        assert load.ledger.violations == []
        failed = {call.worker % 2 for call in load.calls if call.outcome != "ok"}
        assert failed == {0}
        assert {call.outcome for call in load.calls} <= {"ok", "UNAVAILABLE"}


def share(calls: list[float], part: float) -> float:
    """Return what such a part of the calls took at most."""
    return sorted(calls)[int(part * (len(calls) - 1))]


def between(calls: list[Call], began: float, ended: float) -> list[Call]:
    return [call for call in calls if call.began >= began and call.began + call.seconds <= ended]


def outcomes(calls: list[Call], *operations: str) -> set[str]:
    return {call.outcome for call in calls if call.operation in operations}


@asynccontextmanager
async def timing_what_needs_no_store(cache: CacheClient, into: list[float]) -> AsyncIterator[None]:
    """Make such calls while the block runs."""

    async def measure() -> None:
        while True:
            began = time.monotonic()
            await cache.classes()
            into.append(time.monotonic() - began)
            await asyncio.sleep(0.01)

    measuring = asyncio.create_task(measure())
    try:
        yield
    finally:
        measuring.cancel()
        (end,) = await asyncio.gather(measuring, return_exceptions=True)
    assert isinstance(end, asyncio.CancelledError), end
