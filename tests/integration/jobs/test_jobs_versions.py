"""Code that changes under jobs that have begun."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from services.jobs.function import VersionPolicy
from services.jobs.states import JobState
from tests.integration.jobs.claiming import Store, function, job_store

STEP = """
INSERT INTO jobs.steps (job_id, tenant, key, result, attempt, compensation)
SELECT job_id, tenant, 'transcode', '1', 1, $2 FROM jobs.jobs WHERE job_id = $1
"""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store."""
    async with job_store(postgres_url) as store:
        yield store


async def begun(store: Store, *, steps: bool = True, undoable: bool = False) -> UUID:
    """Make a job ready that version v1 has begun; returns its id."""
    (job_id,) = await store.ready(begun="v1")
    if steps:
        await store.execute(STEP, job_id, int(undoable))
    return job_id


async def columns(store: Store, job_id: UUID) -> Any:
    """Return the row of a job."""
    (row,) = await store.fetch("SELECT * FROM jobs.jobs WHERE job_id = $1", job_id)
    return row


class TestFirstClaim:
    async def test_version_is_kept(self, store: Store) -> None:
        """A job has the version of the worker that began it, and the worker is told."""
        await store.declare(function())
        (job_id,) = await store.ready()

        claimed = await store.claim(await store.worker(versions={"f": "v7"}))

        row = await columns(store, job_id)
        assert ["v7"] == [job.version for job in claimed.assignments]
        assert ("v7", "") == (row["version"], row["pin"])

    async def test_pinned(self, store: Store) -> None:
        """Where the function says so, only workers of that version may go on with it."""
        await store.declare(function(version_policy=VersionPolicy.PIN))
        (job_id,) = await store.ready()

        await store.claim(await store.worker(versions={"f": "v7"}))

        assert "v7" == (await columns(store, job_id))["pin"]


class TestContinue:
    async def test_goes_on(self, store: Store) -> None:
        """By default other code goes on with the results of the finished steps."""
        await store.declare(function())
        job_id = await begun(store)

        claimed = await store.claim(await store.worker(versions={"f": "v2"}))

        (job,) = claimed.assignments
        assert (job_id, "v1", ["transcode"]) == (job.job_id, job.version, [m.key for m in job.memo])


class TestPin:
    async def test_waits_for_its_version(self, store: Store) -> None:
        """A pinned job is passed over by other versions, and taken by its own."""
        await store.declare(function(version_policy=VersionPolicy.PIN))
        (pinned,) = await store.ready(pin="v1", begun="v1")
        (free,) = await store.ready()
        other, own = (
            await store.worker(versions={"f": "v2"}),
            await store.worker(versions={"f": "v1"}),
        )

        taken = [
            [job.job_id for job in (await store.claim(worker)).assignments]
            for worker in (other, own)
        ]

        assert [[free], [pinned]] == taken


class TestFail:
    async def test_ends_at_once(self, store: Store) -> None:
        """Where the function says so, such a job fails, says why, and nobody gets it."""
        await store.declare(function(version_policy=VersionPolicy.FAIL))
        job_id = await begun(store)

        claimed = await store.claim(await store.worker(versions={"f": "v2"}))

        row = await columns(store, job_id)
        assert () == claimed.assignments
        assert [JobState.DEAD_LETTERED] == [ending.state for ending in claimed.endings]
        assert ("dead_lettered", "VersionChanged", True) == (
            row["state"],
            row["failure_kind"],
            row["failure_permanent"],
        )
        assert "v1 and cannot go on with v2" in row["failure_message"]
        assert [] == await store.fetch("SELECT FROM jobs.leases UNION ALL SELECT FROM jobs.ready")

    async def test_undone(self, store: Store) -> None:
        """What it has done is undone, where that can be; undoing takes any version."""
        await store.declare(function(version_policy=VersionPolicy.FAIL))
        job_id = await begun(store, undoable=True)
        worker = await store.worker(versions={"f": "v2"})

        ended = await store.claim(worker)
        undoing = await store.claim(worker)

        assert [JobState.ROLLING_BACK] == [ending.state for ending in ended.endings]
        assert [(job_id, ("transcode",))] == [
            (job.job_id, job.rollback) for job in undoing.assignments
        ]

    @pytest.mark.parametrize(
        ("steps", "version"),
        [(False, "v2"), (True, "v1")],
        ids=["nothing done yet", "same version"],
    )
    async def test_goes_on(self, store: Store, steps: bool, version: str) -> None:
        """A job without finished steps, or of the worker's version, goes on."""
        await store.declare(function(version_policy=VersionPolicy.FAIL))
        job_id = await begun(store, steps=steps)

        claimed = await store.claim(await store.worker(versions={"f": version}))

        assert [job_id] == [job.job_id for job in claimed.assignments]
