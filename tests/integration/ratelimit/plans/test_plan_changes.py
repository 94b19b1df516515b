"""A change of a plan is effective on every replica within a second, whatever is away."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import redis.asyncio as redis_py

from services.ratelimit.plan_directory import CachedPlanDirectory
from services.ratelimit.plan_ports import PlanWish
from services.ratelimit.ports import AssignedPlan
from tests.integration.ratelimit.plans.conftest import StartReplica
from tests.integration.ratelimit.plans.replica import (
    ACME,
    ANN,
    OTHER,
    SUPPORT,
    Replica,
    cache_service,
)

SECOND = 1.0


class TestChange:
    async def test_is_effective_at_once_where_it_was_made(self, here: Replica) -> None:
        """The next check has the new plan."""
        await here.assign(ANN, "basic")
        await here.plan_of(ANN)
        await here.assign(ANN, "pro")

        assert ("pro", True) == await here.plan_of(ANN)

    async def test_is_effective_on_another_replica(self, here: Replica, there: Replica) -> None:
        """Again and again, while both are asked all the time."""
        await here.assign(ANN, "basic")
        await there.until_plan(ANN, "basic")
        took = []
        for plan in ("pro", "enterprise", "", "basic"):
            await here.assign(ANN, plan)
            took.append(await there.until_plan(ANN, plan))

        assert max(took) < SECOND

    async def test_of_a_tenant_that_had_none(self, here: Replica, there: Replica) -> None:
        """The other replica needed no look-up for it until now."""
        before = await there.plan_of(ANN, tenant=OTHER)
        await here.assign(ANN, "pro", tenant=OTHER)
        took = await there.until_plan(ANN, "pro", tenant=OTHER)

        assert ("", True) == before
        assert took < SECOND

    async def test_is_effective_without_the_cache(self, start_replica: StartReplica) -> None:
        """Replicas that remember for seconds what PostgreSQL said learn of it from there."""
        first, second = await start_replica(), await start_replica()
        await first.assign(ANN, "basic")
        await second.until_plan(ANN, "basic")
        await first.assign(ANN, "pro")

        assert await second.until_plan(ANN, "pro") < SECOND

    async def test_is_effective_when_no_hint_comes(
        self, here: Replica, there: Replica, redis_url: str
    ) -> None:
        """The hint travels through Redis, which forgets it; a look every second does not."""
        async with redis_py.Redis.from_url(redis_url) as store:
            await here.assign(ANN, "basic")
            await there.until_plan(ANN, "basic")
            await store.client_kill_filter(_type="pubsub")
            await here.assign(ANN, "pro")
            took = await there.until_plan(ANN, "pro")

        assert took < SECOND + 0.5  # the interval, and the look itself

    async def test_is_effective_when_its_maker_dies_before_telling(
        self, here: Replica, there: Replica
    ) -> None:
        """It was committed; the others read of it, and tell the cache in its stead."""
        await here.assign(ANN, "basic")
        await there.until_plan(ANN, "basic")
        await here.store.assign(ACME, PlanWish(subject=ANN, plan="pro"), SUPPORT)
        took = await there.until_plan(ANN, "pro")
        await there.until_caught_up()
        without_memory = CachedPlanDirectory(there.store, there.cache, budget=5.0)

        assert took < SECOND + 0.5
        assert AssignedPlan("pro") == await without_memory.find(ACME, ANN)

    async def test_is_effective_when_all_die_before_telling(
        self, here: Replica, start_replica: StartReplica, cache_address: str
    ) -> None:
        """The next replica that starts reads what was changed in the last minutes."""
        await here.assign(ANN, "basic")
        await here.plan_of(ANN)
        await here.stop("news", "revisions")
        await here.store.assign(ACME, PlanWish(subject=ANN, plan="pro"), SUPPORT)
        next_one = await start_replica(cache_address)

        assert await next_one.until_plan(ANN, "pro") < SECOND

    async def test_in_bulk(self, here: Replica, there: Replica, rows: asyncpg.Connection) -> None:
        """More than a page of changes in one transaction, all of them learnt."""
        await here.assign(ANN, "basic")
        await there.until_plan(ANN, "basic")
        async with rows.transaction():
            revision = await rows.fetchval("SELECT ratelimit.bump('plans')")
            await rows.execute(
                "INSERT INTO ratelimit.plan_assignments "
                "(tenant, subject, plan, assigner, revision) "
                "SELECT 'other', 'user:' || n, 'pro', 'import', $1 FROM generate_series(1, 2500) n",
                revision,
            )
        await there.until_plan("user:2500", "pro", tenant=OTHER)

        assert ("pro", True) == await there.plan_of("user:1", tenant=OTHER)


class TestDatabaseThatWasRestored:
    async def test_is_read_anew(
        self, here: Replica, there: Replica, rows: asyncpg.Connection
    ) -> None:
        """It counts from an earlier revision: what replicas have seen says nothing any more."""
        for plan in ("basic", "pro", "basic"):
            await here.assign(ANN, plan)
        await there.until_caught_up()
        await rows.execute("DELETE FROM ratelimit.plan_assignments")
        await rows.execute("DELETE FROM ratelimit.revisions")
        await here.assign(ANN, "pro", tenant=OTHER)

        assert await there.until_plan(ANN, "pro", tenant=OTHER) < SECOND
        assert ("", True) == await there.plan_of(ANN)


class TestLookUpThatIsOvertaken:
    async def test_is_not_remembered(self, here: Replica) -> None:
        """A plan that was read before a change, and arrives after it, is given to nobody else."""
        await here.assign(ANN, "basic")
        await here.until_caught_up()
        here.store.gate.clear()
        looking = asyncio.create_task(here.plan_of(ANN))
        await here.store.found.wait()
        await here.assign(ANN, "pro")
        here.store.gate.set()

        assert ("basic", True) == await looking
        assert ("pro", True) == await here.plan_of(ANN)


class TestChangesDuringAnOutageOfTheCache:
    async def test_are_told_by_each_replica_that_knows_of_them(
        self, redis_url: str, start_replica: StartReplica, stack: AsyncExitStack
    ) -> None:
        """With the cache back, nobody is served what it held before."""
        async with cache_service(redis_url) as address:
            first, second = await start_replica(address), await start_replica(address)
            await first.assign(ANN, "basic")
            await second.until_plan(ANN, "basic")
        await first.assign(ANN, "pro")
        during = await second.until_plan(ANN, "pro")
        await stack.enter_async_context(
            cache_service(redis_url, port=int(address.rpartition(":")[2]))
        )
        third = await start_replica(address)

        assert during < SECOND
        assert {("pro", True)} == {await each.plan_of(ANN) for each in (first, second, third)}
