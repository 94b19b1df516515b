"""Redis is lost under load: what callers of the rate limits get, meanwhile and after.

Two replicas in processes of their own share one Redis, under the load of `tests.faults.limit_load`.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.channel import Channel
from mainstay.ratelimit.client import RateLimitClient
from tests.faults.limit_load import QUOTA, Call, LimitLoad, modes, write_policy
from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import port_of, ratelimit_process

START_SECONDS = 60.0
BUDGET_SECONDS = 0.01
RECOVERY_SECONDS = 8.0
REPLICAS = 2

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A replica in a process of its own, and what it shows."""

    address: str
    ops_port: int

    async def until(self, metric: str, shown: float) -> None:
        """Wait until a metric shows this."""
        wanted = f"\n{metric} {shown}\n".encode()
        async with asyncio.timeout(20):
            while wanted not in (await ask(self.ops_port, "/metrics")).body:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # every look costs the replica some time

    async def condition(self) -> str | None:
        """Return what `/readyz` says of the counters."""
        conditions = (await ask(self.ops_port, "/readyz")).document().get("conditions", {})
        told: str | None = conditions.get("counters")
        return told

    async def until_settled(self) -> None:
        """Wait until Redis decides again and nothing is owed."""
        async with asyncio.timeout(20):
            while await self.condition() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def replica(redis_url: str, policies: Path) -> AsyncIterator[Served]:
    async with ratelimit_process(redis_url=redis_url, policies_dir=policies) as process:
        ready = await process.line("service_ready", within=START_SECONDS)
        yield Served(address=ready["address"], ops_port=port_of(ready["operations"]))


@asynccontextmanager
async def load_on(
    replicas: Sequence[Served], *, subject: str = "user:1"
) -> AsyncIterator[LimitLoad]:
    async with AsyncExitStack() as open_channels:
        clients = [
            RateLimitClient(
                await open_channels.enter_async_context(Channel(served.address, tenant="acme"))
            )
            for served in replicas
        ]
        yield LimitLoad(clients, subject=subject)


@pytest.fixture
async def replicas(private_redis: RedisServer, tmp_path: Path) -> AsyncIterator[list[Served]]:
    """Run two replicas that know of each other."""
    async with AsyncExitStack() as running:
        policies = write_policy(tmp_path)
        served = [
            await running.enter_async_context(replica(private_redis.url, policies))
            for _ in range(REPLICAS)
        ]
        for each in served:
            await each.until("mainstay_ratelimit_replicas", float(REPLICAS))
        yield served


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
    async def test_is_lost_and_comes_back(
        self,
        private_redis: RedisServer,
        replicas: list[Served],
        lose: Change,
        bring_back: Change,
    ) -> None:
        """Everybody is answered by the rule's mode, quickly, and by Redis again afterwards.

        Quickly is within 10 ms of what the same machine takes for calls that need no counters.
        """
        async with load_on(replicas) as load, load.running():
            await load.further(60)
            before = time.monotonic()
            await lose(private_redis)
            await _each(each.until("mainstay_redis_breaker_open", 1.0) for each in replicas)
            opened = time.monotonic()
            await load.further(600)
            closing = time.monotonic()
            await bring_back(private_redis)
            back = time.monotonic()
            await _each(each.until("mainstay_redis_breaker_open", 0.0) for each in replicas)
            await _each(each.until_settled() for each in replicas)
            recovered = time.monotonic() - back
            settled = time.monotonic()
            await load.further(100)

        meanwhile = load.since(opened, closing)
        assert {""} == {call.error for call in load.calls}
        assert {"redis"} == _all_modes(load.since(0, before))
        assert {
            "shared": {"local"},
            "open": {"open"},
            "closed": {"closed"},
            "many": {"local"},
            "free": {"redis"},
        } == {endpoint: set(found) for endpoint, found in modes(meanwhile).items()}
        assert {"redis"} == _all_modes(load.since(settled))
        assert _median(meanwhile, "many") < BUDGET_SECONDS + _median(meanwhile, "free")
        assert recovered < RECOVERY_SECONDS

    @pytest.mark.parametrize(("lose", "bring_back"), OUTAGES)
    async def test_admits_no_more_than_the_limit_to_whoever_comes_meanwhile(
        self,
        private_redis: RedisServer,
        replicas: list[Served],
        lose: Change,
        bring_back: Change,
    ) -> None:
        """The replicas' shares make the limit, and Redis adds nothing to it afterwards."""
        async with load_on(replicas, subject="user:2") as load:
            await lose(private_redis)
            await _each(_noticed(each) for each in replicas)
            async with load.running():
                await load.further(1_200)
                apart = load.admitted("shared")
                await bring_back(private_redis)
                await _each(each.until_settled() for each in replicas)
                await load.further(200)

        assert QUOTA == apart
        assert QUOTA == load.admitted("shared")

    async def test_that_holds_a_limit_costs_one_share_more_at_most(
        self, private_redis: RedisServer, replicas: list[Served]
    ) -> None:
        """What Redis admitted before, no replica knows; afterwards all of it counts."""
        async with load_on(replicas, subject="user:3") as load, load.running():
            async with asyncio.timeout(30):
                while load.admitted("shared") < QUOTA:
                    await load.further(10)
            private_redis.pause()
            await load.further(600)
            private_redis.resume()
            await _each(each.until_settled() for each in replicas)
            settled, known = time.monotonic(), load.admitted("shared")
            await load.further(200)
            later = [call for call in load.since(settled) if call.endpoint == "shared"]

        assert QUOTA < known <= 2 * QUOTA
        assert not any(call.decision and call.decision.allowed for call in later)

    async def test_meets_no_storm_when_it_is_back(
        self, private_redis: RedisServer, replicas: list[Served]
    ) -> None:
        """As many connections as before, however many callers wait and counters are owed for."""
        async with load_on(replicas) as load, load.running():
            await load.further(60)
            before = await _connections(private_redis)
            await private_redis.kill()
            await load.further(1_500)
            await private_redis.start()
            await _each(each.until_settled() for each in replicas)
            await load.further(100)
            after = await _connections(private_redis)
            attempts = await _accepted(private_redis)

        assert before >= after
        # The fixture's own look at whether it answers is among them.
        assert attempts <= 2 * before + 10


class TestFullRedis:
    async def test_under_load(self, private_redis: RedisServer, replicas: list[Served]) -> None:
        """What it cannot write the failure modes decide; it is charged when there is room."""
        async with (
            redis.asyncio.Redis.from_url(private_redis.url) as raw,
            load_on(replicas, subject="user:4") as load,
            load.running(),
        ):
            await raw.config_set("maxmemory", "1")
            await load.further(600)
            full = modes(load.calls[-200:])
            await raw.config_set("maxmemory", "0")
            await _each(each.until_settled() for each in replicas)
            settled = time.monotonic()
            await load.further(100)

        assert {""} == {call.error for call in load.calls}
        assert {"local"} == set(full["shared"])
        assert {"open"} == set(full["open"])
        assert {"redis"} == _all_modes(load.since(settled))
        assert load.admitted("shared") <= 2 * QUOTA


class TestStartWithoutRedis:
    async def test_serves_by_the_failure_modes_until_it_is_there(
        self, private_redis: RedisServer, tmp_path: Path
    ) -> None:
        """And says so; what it admitted is charged."""
        await private_redis.stop()
        async with replica(private_redis.url, write_policy(tmp_path)) as served:
            await _until_told(served)
            async with Channel(served.address, tenant="acme") as channel:
                limits = RateLimitClient(channel)
                first = await limits.check("user:5", "shared", cost=3)
                told = await served.condition()
                await private_redis.start()
                await served.until_settled()
                second = await limits.check("user:5", "shared")

        assert (True, True) == (first.allowed, first.degraded)
        assert told is not None
        assert "cannot be reached" in told
        assert (True, False, QUOTA - 4) == (second.allowed, second.degraded, second.remaining)


async def _each(waits: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*waits)


async def _noticed(served: Served) -> None:
    """Ask until the breaker of a replica is open: one that is not asked notices nothing."""
    async with Channel(served.address, tenant="acme") as channel:
        await RateLimitClient(channel).check("nobody", "open")
    await served.until("mainstay_redis_breaker_open", 1.0)


async def _until_told(served: Served) -> None:
    async with asyncio.timeout(20):
        while await served.condition() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _all_modes(calls: Sequence[Call]) -> set[str]:
    return {mode for found in modes(calls).values() for mode in found}


def _median(calls: Sequence[Call], endpoint: str) -> float:
    return statistics.median(call.seconds for call in calls if call.endpoint == endpoint)


async def _connections(server: RedisServer) -> int:
    """Return how many connections Mainstay holds."""
    async with redis.asyncio.Redis.from_url(server.url) as raw:
        clients = await raw.client_list()
    return sum(client["name"] == "mainstay" for client in clients)


async def _accepted(server: RedisServer) -> int:
    """Return how many connections were made to Redis since it was started."""
    async with redis.asyncio.Redis.from_url(server.url) as raw:
        found = await raw.info("stats")
    return int(found["total_connections_received"])
