"""Looking plans up for checks: who is asked, how often, and what is said when nobody answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mainstay.cache import CacheClient, Hit
from mainstay.channel import Channel
from services.ratelimit import plan_directory
from services.ratelimit.plan_cache import NAMESPACE, TELL_SECONDS, PlanCache
from services.ratelimit.plan_directory import SILENCE_SECONDS, CachedPlanDirectory
from services.ratelimit.plan_ports import PlanKey
from services.ratelimit.ports import AssignedPlan
from tests.conftest import StartPostgres
from tests.integration.ratelimit.plans.conftest import StartReplica
from tests.integration.ratelimit.plans.replica import (
    ACME,
    ANN,
    OTHER,
    Replica,
    cache_service,
    plan_replica,
)
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import PATIENCE, until

BOB = "user:bob"


@asynccontextmanager
async def hanging_server() -> AsyncIterator[int]:
    """Accept connections on a port and say nothing."""
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()
        await server.wait_closed()


class TestTenantWithoutPlans:
    async def test_needs_no_look_up(self, here: Replica) -> None:
        """The answer is at hand, and sure; nobody was asked."""
        assert AssignedPlan("") == here.directory.at_hand(ACME, ANN)
        assert ("", True) == await here.plan_of(ANN)
        assert 0 == here.store.asked

    async def test_is_known_from_the_start(
        self, here: Replica, start_replica: StartReplica
    ) -> None:
        """Of a replica that starts later too: one tenant has plans, another has none."""
        await here.assign(ANN, "pro")
        later = await start_replica()

        assert {ACME} == later.directory.tenants
        assert AssignedPlan("") == later.directory.at_hand(OTHER, ANN)
        assert None is later.directory.at_hand(ACME, ANN)

    async def test_is_not_assumed_before_it_is_known(self, alone: Replica) -> None:
        """A replica that has not reached the database yet has to look."""
        unsure = CachedPlanDirectory(alone.store, None, budget=5.0)
        await alone.assign(ANN, "pro")

        assert None is unsure.at_hand(ACME, ANN)
        assert AssignedPlan("pro") == await unsure.find(ACME, ANN)


class TestThroughTheCache:
    async def test_replicas_share_one_question(self, here: Replica, there: Replica) -> None:
        """What one has asked PostgreSQL the other reads from the cache service."""
        await here.assign(ANN, "pro")
        await here.until_caught_up()
        await there.until_caught_up()

        assert [("pro", True)] * 2 == [await here.plan_of(ANN), await there.plan_of(ANN)]
        assert 1 == here.store.asked + there.store.asked

    async def test_checks_share_one_question(self, here: Replica) -> None:
        """A hundred at once ask once."""
        await here.assign(BOB, "basic")
        await here.assign(ANN, "pro")
        await here.until_caught_up()
        found = await asyncio.gather(*(here.plan_of(ANN) for _ in range(100)))

        assert {("pro", True)} == set(found)
        assert 1 == here.store.asked

    async def test_no_plan_is_remembered_too(self, here: Replica, cache_address: str) -> None:
        """Others of the tenant have plans; who has none is not asked for again and again."""
        await here.assign(ANN, "pro")
        await here.until_caught_up()
        found = await here.plan_of(BOB)
        async with Channel(cache_address, tenant=ACME) as channel, CacheClient(channel) as cache:
            entry = await cache.get(NAMESPACE, BOB)

        assert ("", True) == found
        assert isinstance(entry, Hit)
        assert (b"", "user_plan") == (entry.value, entry.ttl_class)

    async def test_the_answer_is_at_hand_for_a_moment(self, here: Replica) -> None:
        """The second check waits for nobody."""
        await here.assign(ANN, "pro")
        await here.until_caught_up()
        await here.plan_of(ANN)

        assert AssignedPlan("pro") == here.directory.at_hand(ACME, ANN)

    async def test_tenants_are_apart(self, here: Replica) -> None:
        """The same subject of two tenants has two plans."""
        await here.assign(ANN, "pro")
        await here.assign(ANN, "basic", tenant=OTHER)

        assert ("pro", True) == await here.plan_of(ANN)
        assert ("basic", True) == await here.plan_of(ANN, tenant=OTHER)


class TestWithoutTheCache:
    async def test_postgresql_is_asked(self, start_replica: StartReplica) -> None:
        """Where nobody listens at the cache's address."""
        replica = await start_replica("127.0.0.1:1")
        await replica.assign(ANN, "pro")

        assert ("pro", True) == await replica.plan_of(ANN)
        assert ("", True) == await replica.plan_of(BOB)

    async def test_postgresql_is_asked_soon(self, start_replica: StartReplica) -> None:
        """Where somebody listens and says nothing: within the time that a check may wait."""
        async with hanging_server() as port:
            replica = await start_replica(f"127.0.0.1:{port}")
            await replica.assign(ANN, "pro")
            began = asyncio.get_running_loop().time()
            found = await replica.plan_of(BOB)
            took = asyncio.get_running_loop().time() - began

        assert ("", True) == found
        assert took < 0.3  # 0.025, a query, and what a busy machine adds

    async def test_the_cache_is_given_time_to_let_postgresql_be_asked(self, here: Replica) -> None:
        """It has answered that it has nothing; what PostgreSQL says is kept there for all."""
        await here.assign(ANN, "pro")
        await here.until_caught_up()
        here.store.gate.clear()
        looking = asyncio.create_task(here.plan_of(ANN))
        await here.store.found.wait()
        await asyncio.sleep(2 * SILENCE_SECONDS)  # as a slow database would
        here.store.gate.set()

        assert ("pro", True) == await looking
        assert 1 == here.store.asked

    async def test_the_answer_is_believed_for_seconds(self, alone: Replica) -> None:
        """Every active subject costs PostgreSQL one query in three seconds."""
        await alone.assign(ANN, "pro")
        await alone.until_caught_up()
        for _ in range(100):
            await alone.plan_of(ANN)

        assert 1 == alone.store.asked

    async def test_what_the_cache_was_not_told_is_not_read_from_it(
        self,
        here: Replica,
        there: Replica,
        start_replica: StartReplica,
        redis_url: str,
        stack: AsyncExitStack,
    ) -> None:
        """A cache that was away during a change comes back with what was before."""
        async with AsyncExitStack() as life:
            address = await life.enter_async_context(cache_service(redis_url))
            replica = await start_replica(address)
            await replica.assign(ANN, "pro")
            for each in (here, there, replica):
                await each.until_caught_up()
            await replica.plan_of(ANN)
            # Nobody tells the cache but who changes the plan, and it is not there.
            for each in (here, there, replica):
                await each.stop("news", "cache")
            await life.aclose()
            await replica.assign(ANN, "basic")
        back = await stack.enter_async_context(
            cache_service(redis_url, port=int(address.rpartition(":")[2]))
        )
        async with Channel(back, tenant=ACME) as channel, CacheClient(channel) as cache:
            await asyncio.wait_for(channel.raw.channel_ready(), PATIENCE)
            held = await cache.get(NAMESPACE, ANN)

        assert isinstance(held, Hit)
        assert b"pro" == held.value
        assert ("basic", True) == await replica.plan_of(ANN)


class TestWithoutAnybody:
    async def test_a_check_waits_no_longer_than_its_budget(
        self, redis_url: str, start_postgres: StartPostgres
    ) -> None:
        """A database that hangs keeps nobody: the plan is unknown, the limits without one apply."""
        server = await start_postgres()
        async with plan_replica(redis_url, server.url, budget=0.05) as replica:
            await replica.assign(ANN, "pro")
            server.pause()
            began = asyncio.get_running_loop().time()
            found = await replica.directory.find(ACME, ANN)
            took = asyncio.get_running_loop().time() - began
            next_one = replica.directory.at_hand(ACME, ANN)
            server.resume()

        assert AssignedPlan("", known=False) == found == next_one
        assert took < 0.5  # 0.05, and what a busy machine adds

    async def test_the_last_plan_is_believed_for_minutes(
        self, redis_url: str, start_postgres: StartPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is better than none, and not sure."""
        monkeypatch.setattr(plan_directory, "UNCACHED_SECONDS", 0.0)
        server = await start_postgres()
        async with plan_replica(redis_url, server.url) as replica:
            await replica.assign(ANN, "pro")
            await replica.until_caught_up()
            await replica.plan_of(ANN)
            await server.kill()

            assert ("pro", False) == await replica.plan_of(ANN)
            assert ("", False) == await replica.plan_of(BOB)

    async def test_nobody_asks_again_at_once(
        self, redis_url: str, start_postgres: StartPostgres
    ) -> None:
        """A thousand checks are not a thousand attempts to connect."""
        server = await start_postgres()
        async with plan_replica(redis_url, server.url) as replica:
            await replica.assign(ANN, "pro")
            await server.kill()
            await replica.plan_of(BOB)
            asked = replica.store.asked
            for number in range(100):
                await replica.plan_of(f"user:{number}")

        assert asked == replica.store.asked

    async def test_look_ups_are_bounded(
        self, alone: Replica, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond the bound a check goes on without."""
        await alone.assign(ANN, "pro")
        monkeypatch.setattr(plan_directory, "MAX_LOOKUPS", 3)
        found = await asyncio.gather(*(alone.plan_of(f"user:{number}") for number in range(5)))

        assert [("", True)] * 3 + [("", False)] * 2 == found

    async def test_the_cache_answers_while_postgresql_is_away(
        self, redis_url: str, cache_address: str, start_postgres: StartPostgres
    ) -> None:
        """For as long as an entry lives."""
        server = await start_postgres()
        async with plan_replica(redis_url, server.url, cache_address) as replica:
            await replica.assign(ANN, "pro")
            await replica.until_caught_up()
            await replica.plan_of(ANN)
            await server.kill()
            fresh = CachedPlanDirectory(replica.store, replica.cache, budget=5.0)

            assert AssignedPlan("pro") == await fresh.find(ACME, ANN)


class TestUntoldChanges:
    async def test_are_bounded_by_the_subject(self, cache_address: str) -> None:
        """Too many of them become all plans of their tenants."""
        plans = PlanCache("127.0.0.1:1", max_untold=2)
        await plans.start()
        await plans.forget([PlanKey(ACME, f"user:{number}") for number in range(3)])
        answers = [plans.may_answer(PlanKey(tenant, ANN)) for tenant in (ACME, OTHER)]
        await plans.close()

        assert [False, True] == answers

    async def test_that_change_again_while_they_are_told_are_told_again(
        self, cache_address: str
    ) -> None:
        """The cache may have forgotten the entry before the second change, and read the first."""
        async with TcpProxy.to(int(cache_address.rpartition(":")[2])) as proxy:
            plans = PlanCache(f"127.0.0.1:{proxy.port}")
            await plans.start()
            proxy.delay = 2 * TELL_SECONDS
            await plans.forget([PlanKey(ACME, ANN)])  # waits in vain, and leaves it to others
            telling = asyncio.create_task(plans.tell_once())
            sent = proxy.batches
            await until(lambda: proxy.batches > sent)
            await plans.forget([PlanKey(ACME, ANN)])
            proxy.delay = 0.0
            await telling
            after_first = plans.may_answer(PlanKey(ACME, ANN))
            await plans.tell_once()
            after_second = plans.may_answer(PlanKey(ACME, ANN))
            await plans.close()

        assert (False, True) == (after_first, after_second)

    async def test_wait_once_for_a_cache_that_hangs(self) -> None:
        """A thousand changes do not wait for it one after the other."""
        loop = asyncio.get_running_loop()
        async with hanging_server() as port:
            plans = PlanCache(f"127.0.0.1:{port}")
            await plans.start()
            took = []
            for number in range(3):
                began = loop.time()
                await plans.forget([PlanKey(ACME, f"user:{number}")])
                took.append(loop.time() - began)
            await plans.close()

        assert [True, False, False] == [seconds > TELL_SECONDS / 2 for seconds in took]

    async def test_are_told_when_the_cache_is_back(
        self, redis_url: str, start_replica: StartReplica, stack: AsyncExitStack
    ) -> None:
        """Then it is believed again."""
        async with cache_service(redis_url) as address:
            replica = await start_replica(address)
        await replica.assign(ANN, "pro")
        assert replica.cache is not None
        untold = not replica.cache.may_answer(PlanKey(ACME, ANN))
        await stack.enter_async_context(
            cache_service(redis_url, port=int(address.rpartition(":")[2]))
        )
        await until(lambda: replica.cache is None or replica.cache.may_answer(PlanKey(ACME, ANN)))

        assert untold
