"""Tenants that wait for one function share its workers, however much each of them has to do."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.jobs.caps import rate_of
from services.jobs.fairness import Fairness
from services.jobs.function import RateLimit
from services.jobs.job import Assignment
from services.jobs.postgres_lanes import LaneFinder
from tests.integration.jobs.claiming import Store, function, job_store


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store in which f is declared for all tenants."""
    async with job_store(postgres_url) as store:
        await store.declare(function(), tenant="*")
        yield store


class TestTwoTenants:
    async def test_small_beside_large(self, store: Store) -> None:
        """Ten jobs of one tenant are done with the first few of another that has ten thousand."""
        await store.ready(10_000, tenant="large", age=60)
        await store.ready(10, tenant="small")
        worker = await store.worker(tenant="*", room=5)
        begun: list[Assignment] = []

        while Counter(job.tenant for job in begun)["small"] < 10:
            begun += (await store.claim(worker, limit=5)).assignments

        assert 20 <= len(begun) <= 22

    async def test_by_weight(self, store: Store) -> None:
        """A tenant that weighs three times as much gets three times as many."""
        store.fairness = Fairness({"heavy": 3.0, "usual": 1.0}.__getitem__)
        await store.ready(500, tenant="heavy")
        await store.ready(500, tenant="usual")
        worker = await store.worker(tenant="*", room=4)

        begun = [job for _ in range(50) for job in (await store.claim(worker)).assignments]

        assert {"heavy": 150, "usual": 50} == Counter(job.tenant for job in begun)

    async def test_who_has_little_leaves_the_rest(self, store: Store) -> None:
        """What one tenant does not need goes to the other, and no room is left."""
        await store.ready(100, tenant="large")
        await store.ready(1, tenant="small")

        begun = await store.claim_all(await store.worker(tenant="*", room=50))

        assert {"large": 100, "small": 1} == Counter(job.tenant for job in begun)


class TestManyTenants:
    async def test_nobody_is_left_out(self, store: Store) -> None:
        """When more tenants wait than one claim looks at, the next claim looks at the others."""
        for tenant in ("a", "b", "c", "d", "e"):
            await store.ready(3, tenant=tenant)
        replica = store.replica(LaneFinder(max_tenants=2))
        worker = await store.worker(tenant="*", room=2)

        served = [
            sorted(job.tenant for job in (await replica.claim(worker)).assignments)
            for _ in range(5)
        ]

        assert [["a", "b"], ["c", "d"], ["a", "e"], ["b", "c"], ["d", "e"]] == served

    async def test_more_keys_than_one_look(self, store: Store) -> None:
        """When more keys wait than one claim looks at, all come in turn, and the last is found."""
        await store.declare(function(key_pointer="/k", key_limit=5), tenant="*")
        for key in "abcde":
            await store.ready(2, key=key)
        replica = store.replica(LaneFinder(max_lanes=2))
        worker = await store.worker(tenant="*")

        begun = await replica.claim_all(worker)

        assert 10 == len(begun)

    async def test_versions_with_other_keys(self, store: Store) -> None:
        """What a look finds of one version does not hide keys of another."""
        rate = RateLimit(endpoint="mail", subject="/k")
        await store.declare(function(key_pointer="/k", rate_limit=rate), tenant="*")
        for key in "mnop":
            await store.ready(key=key)
        for key in "cdef":
            await store.ready(key=key, pin="v1", begun="v1")
        replica = store.replica(LaneFinder(max_lanes=2))
        worker = await store.worker(versions={"f": "v1"})
        permits = {rate_of("mail", "/k", tenant="acme", key="e"): 1}

        claims = [await replica.claim(worker, permits=permits) for _ in range(8)]

        assert 1 == len({job.job_id for claim in claims for job in claim.assignments})

    async def test_what_came_before_the_last_look(self, store: Store) -> None:
        """A look that begins behind others' keys is followed by one that begins before them."""
        for key in "abc":
            await store.ready(key=key)
        replica = store.replica(LaneFinder(max_lanes=2))
        worker = await store.worker(tenant="*")
        await replica.claim(worker)
        await store.execute("DELETE FROM jobs.ready WHERE key = 'c'")
        (job_id,) = await store.ready(key="a")

        looks = [await replica.claim(worker), await replica.claim(worker)]

        assert [(True, []), (False, [job_id])] == [
            (look.more, [job.job_id for job in look.assignments]) for look in looks
        ]
