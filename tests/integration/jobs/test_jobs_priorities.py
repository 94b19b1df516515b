"""Which of the jobs of a lane goes first."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.jobs.claiming import Store, function, job_store


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store in which f is declared."""
    async with job_store(postgres_url) as store:
        await store.declare(function())
        yield store


class TestOrder:
    async def test_in_turn(self, store: Store) -> None:
        """Jobs of one priority start in the order in which they became ready."""
        newer, older = await store.ready(age=1), await store.ready(age=2)

        claimed = await store.claim(await store.worker())

        assert older + newer == [job.job_id for job in claimed.assignments]

    async def test_urgent_first(self, store: Store) -> None:
        """A job of more priority goes before older ones."""
        (usual,) = await store.ready(age=5)
        (urgent,) = await store.ready(priority=1)
        (idle,) = await store.ready(priority=-1, age=5)

        claimed = await store.claim(await store.worker())

        assert [urgent, usual, idle] == [job.job_id for job in claimed.assignments]

    async def test_ageing(self, store: Store) -> None:
        """A point is a head start of ten seconds, so that nobody waits for ever."""
        (urgent,) = await store.ready(priority=1)
        (old,) = await store.ready(age=11)
        (less_old,) = await store.ready(age=9)

        claimed = await store.claim(await store.worker())

        assert [old, urgent, less_old] == [job.job_id for job in claimed.assignments]

    async def test_room_for_one(self, store: Store) -> None:
        """The order holds also when one job at a time is taken."""
        jobs = [(await store.ready(priority=priority))[0] for priority in (0, 5, -5)]
        worker = await store.worker(room=1)

        taken = [
            job.job_id for _ in jobs for job in (await store.claim(worker, limit=1)).assignments
        ]

        assert [jobs[1], jobs[0], jobs[2]] == taken
