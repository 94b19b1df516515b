"""How many jobs may run at once: caps of functions and of their keys, over several replicas."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.jobs.caps import Cap
from services.jobs.function import FunctionDefinition
from services.jobs.job import Assignment
from services.jobs.postgres_lanes import LaneFinder, count_caps
from shared.rpc.call import ALL_TENANTS
from tests.integration.jobs.claiming import Store, function, job_store

BY_KEY = "SELECT key, count(*) AS jobs FROM jobs.leases GROUP BY key"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store."""
    async with job_store(postgres_url) as store:
        yield store


class TestFunction:
    async def test_cap(self, store: Store) -> None:
        """No more jobs run than the function allows, and each end lets another start."""
        await store.declare(function(concurrency=2))
        await store.ready(5)
        worker = await store.worker()

        first = await store.claim(worker)
        nothing = await store.claim(worker)
        await store.finish(first.assignments[:1])
        next_one = await store.claim(worker)

        assert (2, 0, 1) == tuple(len(each.assignments) for each in (first, nothing, next_one))

    async def test_function_that_is_removed_meanwhile(self, store: Store) -> None:
        """A function that was removed since it was found starts nothing in this claim."""
        await store.declare(function(concurrency=2))
        await store.ready(5)
        worker = await store.worker()
        async with store.postgres.transaction(ALL_TENANTS) as connection:
            look = await LaneFinder().find(connection, [worker], 10)
            await connection.execute("DELETE FROM jobs.functions")
            budgets = await count_caps(connection, look.lanes)

        assert {Cap("acme", "f"): 0} == budgets

    async def test_told_that_it_is_held(self, store: Store) -> None:
        """What waits for a place is told apart from what is done; nobody looks again in vain."""
        await store.declare(function(concurrency=1))
        await store.ready(2)
        worker = await store.worker()

        looks = [await store.claim(worker), await store.claim(worker)]
        await store.finish(looks[0].assignments)
        looks += [await store.claim(worker), await store.claim(worker)]

        assert [(True, False), (True, False), (True, False), (False, False)] == [
            (look.held, look.more) for look in looks
        ]

    async def test_changed_cap_counts_at_once(self, store: Store) -> None:
        """A cap that comes counts what runs already; one that grows or goes lets more start."""
        await store.declare(function())
        await store.ready(20)
        worker = await store.worker()
        await store.claim(worker, limit=3)

        claimed = []
        for concurrency in (2, 5, 4, 0):
            await store.declare(function(concurrency=concurrency))
            claimed.append(len((await store.claim(worker, limit=9)).assignments))

        assert [0, 2, 0, 9] == claimed

    async def test_of_all_tenants_together(self, store: Store) -> None:
        """A function for all counts the jobs of all, but of those with one of their own."""
        await store.declare(function(concurrency=3), tenant="*")
        await store.declare(function(concurrency=2), tenant="own")
        for tenant in ("a", "b", "own"):
            await store.ready(5, tenant=tenant)

        claimed = await store.claim(await store.worker(tenant="*"))

        tenants = Counter(job.tenant for job in claimed.assignments)
        assert (2, 3) == (tenants.pop("own"), tenants.total())

    async def test_own_function_is_another(self, store: Store) -> None:
        """What a tenant's own function runs does not count for the one of all others."""
        await store.declare(function(concurrency=1), tenant="*")
        await store.declare(function(concurrency=3), tenant="own")
        await store.ready(5, tenant="own")
        worker = await store.worker(tenant="*")
        await store.claim(worker)
        await store.ready(2, tenant="a")

        claimed = await store.claim(worker)

        assert ["a"] == [job.tenant for job in claimed.assignments]

    async def test_others_go_on(self, store: Store) -> None:
        """A function at its cap leaves the room to others."""
        await store.declare(function(concurrency=1), function("g"))
        await store.ready(50)
        await store.ready(50, function="g")
        worker = await store.worker("f", "g")

        claimed = await store.claim(worker, limit=20)

        assert {"f": 1, "g": 19} == Counter(job.function for job in claimed.assignments)


class TestKey:
    async def test_cap(self, store: Store) -> None:
        """No more jobs of one key run than the function allows."""
        await store.declare(function(key_pointer="/k", key_limit=2))
        for key in ("x", "y"):
            await store.ready(5, key=key)
        await store.ready(1, key="z")

        claimed = await store.claim_all(await store.worker())

        counted = {row["key"]: row["jobs"] for row in await store.fetch(BY_KEY)}
        assert (5, {"x": 2, "y": 2, "z": 1}) == (len(claimed), counted)

    async def test_tenants_apart(self, store: Store) -> None:
        """The same key of two tenants is two keys."""
        await store.declare(function(key_pointer="/k", key_limit=1), tenant="*")
        for tenant in ("a", "b"):
            await store.ready(3, tenant=tenant, key="x")

        claimed = await store.claim_all(await store.worker(tenant="*"))

        assert ["a", "b"] == sorted(job.tenant for job in claimed)

    async def test_both_caps(self, store: Store) -> None:
        """Where a function has both, both hold."""
        await store.declare(function(concurrency=3, key_pointer="/k", key_limit=2))
        for key in ("x", "y"):
            await store.ready(5, key=key)

        claimed = await store.claim_all(await store.worker())

        counted = sorted(row["jobs"] for row in await store.fetch(BY_KEY))
        assert (3, [1, 2]) == (len(claimed), counted)

    async def test_more_keys_than_one_look_finds(self, store: Store) -> None:
        """Keys beyond what one look finds are found by the next ones, and none is left out."""
        await store.declare(function(key_pointer="/k", key_limit=1))
        for number in range(250):
            await store.ready(2, key=f"k{number:03}")

        claimed = await store.claim_all(await store.worker(room=1_000))
        await store.finish(claimed[:3])
        again = await store.claim_all(await store.worker(room=1_000))

        assert (250, 3) == (len(claimed), len(again))


class TestReplicas:
    @pytest.mark.parametrize(
        ("declared", "bound"),
        [(function(concurrency=7), 7), (function(key_pointer="/k", key_limit=2), 2)],
        ids=["function", "key"],
    )
    async def test_never_exceeded(
        self, store: Store, declared: FunctionDefinition, bound: int
    ) -> None:
        """However many replicas and workers claim at the same time, no cap is exceeded."""
        await store.declare(declared)
        for key in ("x", "y", "z"):
            await store.ready(70, key=key if declared.key_limit else "")
        done: list[Assignment] = []
        most: Counter[str] = Counter()

        async def work(replica: Store) -> None:
            worker = await store.worker(room=4)
            while len(done) < 210:
                claimed = (await replica.claim(worker, limit=4)).assignments
                for row in await store.fetch(BY_KEY):
                    most[row["key"]] = max(most[row["key"]], row["jobs"])
                await store.finish(claimed)
                done.extend(claimed)

        async with asyncio.timeout(60):
            await asyncio.gather(
                *(work(replica) for replica in (store.replica(), store.replica()) for _ in range(4))
            )

        assert 210 == len({job.job_id for job in done})
        assert {bound} == set(most.values())

    async def test_uncapped_do_not_wait(self, store: Store) -> None:
        """A replica that claims for a function with a cap does not hold up other functions."""
        await store.declare(function(concurrency=5), function("g"))
        await store.ready(5)
        await store.ready(5, function="g")
        worker = await store.worker("g")
        async with store.postgres.transaction(ALL_TENANTS) as other:
            await other.execute("SELECT FROM jobs.functions WHERE name = 'f' FOR NO KEY UPDATE")

            claimed = await store.claim(worker)

        assert 5 == len(claimed.assignments)

    async def test_full_do_not_wait(self, store: Store) -> None:
        """Where a cap is reached, nothing is locked to find that out."""
        await store.declare(function(concurrency=1))
        await store.ready(2)
        worker = await store.worker()
        await store.claim(worker)
        async with store.postgres.transaction(ALL_TENANTS) as other:
            await other.execute("SELECT FROM jobs.functions FOR NO KEY UPDATE")

            async with asyncio.timeout(10):
                claimed = await store.claim(worker)

        assert ((), True) == (claimed.assignments, claimed.held)
