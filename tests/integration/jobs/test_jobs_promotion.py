"""Jobs whose time has come take their place among those that are ready."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.jobs.ports import Claimed
from shared.rpc.call import ALL_TENANTS
from tests.integration.jobs.claiming import Store, function, job_store

DELAY = """
WITH job AS (DELETE FROM jobs.ready WHERE job_id = $1 RETURNING *)
INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
SELECT job_id, function, tenant, 0, now() + $2 * interval '1 s' FROM job
"""
DEBOUNCE = """
INSERT INTO jobs.debounces (tenant, function, key, job_id) VALUES ('acme', 'f', 'd', $1)
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store in which f is declared."""
    async with job_store(postgres_url) as store:
        await store.declare(function())
        yield store


async def delayed(store: Store, seconds: int, *, key: str = "", pin: str = "") -> UUID:
    """Make a job that may start in so many seconds."""
    (job_id,) = await store.ready(key=key, pin=pin, begun=pin, priority=2)
    await store.execute(DELAY, job_id, seconds)
    return job_id


async def promote(store: Store) -> Claimed:
    """Make ready what is due."""
    return await store.claims.claim([], limit=1, places=store.fairness, permits={}, promote=True)


class TestPromotion:
    async def test_into_its_lane(self, store: Store) -> None:
        """A job that is due is ready with its key and version, and its rank is of its time."""
        job_id = await delayed(store, -3, key="k", pin="v1")

        promoted = await promote(store)

        (row,) = await store.fetch(
            "SELECT *, rank = jobs.rank(ready_time, 2) AS ranked, "
            "now() - ready_time > interval '2 s' AS since FROM jobs.ready"
        )
        assert (1, None) == (promoted.promoted, promoted.next_due)
        assert (job_id, "k", "v1", True, True, 2) == tuple(
            row[name] for name in ("job_id", "key", "version", "ranked", "since", "bytes")
        )

    async def test_not_before_its_time(self, store: Store) -> None:
        """One that is not due stays, and when it will be is told."""
        await delayed(store, 60)

        promoted = await promote(store)

        assert (0, True) == (promoted.promoted, 58 < (promoted.next_due or 0) <= 60)
        assert [] == await store.fetch("SELECT FROM jobs.ready")

    async def test_folds_no_more(self, store: Store) -> None:
        """Further events are not folded into a job that is ready."""
        await store.execute(DEBOUNCE, await delayed(store, -1))

        await promote(store)

        assert [] == await store.fetch("SELECT FROM jobs.debounces")

    async def test_while_an_event_is_folded(self, store: Store) -> None:
        """An event that is just being folded is not waited for, nor deadlocked with."""
        await store.execute(DEBOUNCE, await delayed(store, -1))
        async with store.postgres.transaction(ALL_TENANTS) as event:
            await event.execute("SELECT FROM jobs.debounces FOR UPDATE")

            promoted = await promote(store)

        assert 1 == promoted.promoted
