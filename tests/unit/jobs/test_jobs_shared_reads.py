"""Reads that watchers share."""

import asyncio
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mainstay.errors import DatabaseError
from services.jobs.job import EventId, Job, JobId
from services.jobs.ports import Found
from services.jobs.shared_reads import BATCH, SharedReads
from services.jobs.states import JobState
from shared.rpc.call import Tenant

ACME, GLOBEX = Tenant("acme"), Tenant("globex")


def job_id(number: int) -> JobId:
    """Return an id."""
    return JobId(UUID(int=number))


def job(number: int) -> Job:
    """Return a job of acme."""
    return Job(
        job_id=job_id(number),
        tenant=ACME,
        function="f",
        event_id=EventId(UUID(int=0)),
        state=JobState.QUEUED,
        revision=1,
        attempt=0,
        max_attempts=3,
        steps=(),
        progress=None,
        result=None,
        failure=None,
        request_id="r",
        worker="",
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
        start_time=None,
        ready_time=None,
        end_time=None,
    )


class Shelf:
    """A reader whose reads are counted and may fail; it brings `room_for` jobs at a time."""

    def __init__(self, *, room_for: int = 1_000, error: DatabaseError | None = None) -> None:
        self.reads: list[AbstractSet[tuple[Tenant, JobId]]] = []
        self._room_for = room_for
        self._error = error

    async def find(self, tenant: Tenant, job_id: JobId) -> Job | None:
        """Find nothing: nobody asks."""
        raise NotImplementedError

    async def revisions(self, jobs: Collection[tuple[Tenant, JobId]]) -> Mapping[JobId, int]:
        """Find nothing: nobody asks."""
        raise NotImplementedError

    async def find_many(self, wanted: AbstractSet[tuple[Tenant, JobId]], *, room: int) -> Found:
        """Return jobs of acme with ids above 0."""
        self.reads.append(set(wanted))
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        there = sorted(pair for pair in wanted if pair[0] == ACME and pair[1].int > 0)
        jobs = {pair: job(pair[1].int) for pair in there[: self._room_for]}
        return Found(jobs=jobs, left=frozenset(there[self._room_for :]))


async def read_all(
    shelf: Shelf, *wanted: tuple[Tenant, list[int]]
) -> list[dict[JobId, Job | None] | BaseException]:
    """Let callers read at once and return what each gets."""
    reads = SharedReads(shelf)
    running = asyncio.create_task(reads.run())
    try:
        calls = (reads.read(tenant, list(map(job_id, numbers))) for tenant, numbers in wanted)
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        running.cancel()


class TestSharing:
    async def test_same_job(self) -> None:
        """However many want a job, it is read once, and all get the same."""
        shelf = Shelf()

        found = await read_all(shelf, *[(ACME, [1])] * 50)

        assert 1 == len(shelf.reads)
        assert [{job_id(1): job(1)}] * 50 == found

    async def test_several_jobs(self) -> None:
        """What different callers want is one query, and nobody gets what another asked for."""
        shelf = Shelf()

        found = await read_all(shelf, (ACME, [1, 2]), (ACME, [2, 3]), (GLOBEX, [1]), (ACME, [0]))

        assert 1 == len(shelf.reads)
        assert [
            {job_id(1): job(1), job_id(2): job(2)},
            {job_id(2): job(2), job_id(3): job(3)},
            {job_id(1): None},
            {job_id(0): None},
        ] == found

    async def test_many(self) -> None:
        """A query has a bound."""
        shelf = Shelf()

        (found,) = await read_all(shelf, (ACME, list(range(1, 2 * BATCH + 2))))

        assert isinstance(found, dict)
        assert 2 * BATCH + 1 == len(found)
        assert [BATCH, BATCH, 1] == [len(read) for read in shelf.reads]

    async def test_a_read_that_has_begun_is_too_old(self) -> None:
        """Whoever asks while a query is on its way gets what the next one brings."""
        shelf = Shelf()
        reads = SharedReads(shelf)
        first = asyncio.create_task(reads.read(ACME, [job_id(1)]))
        await asyncio.sleep(0)
        running = asyncio.create_task(reads.run_once())
        await asyncio.sleep(0)
        second = asyncio.create_task(reads.read(ACME, [job_id(1)]))
        await running
        await first
        assert not second.done()

        await reads.run_once()

        assert {job_id(1): job(1)} == await second
        assert 2 == len(shelf.reads)


class TestRoom:
    async def test_left(self) -> None:
        """What does not fit is left out, to be asked for again."""
        (found,) = await read_all(Shelf(room_for=2), (ACME, [1, 2, 3]))

        assert {job_id(1): job(1), job_id(2): job(2)} == found


class TestErrors:
    async def test_database_gone(self) -> None:
        """All who wait are told, and the next can be served."""
        error = DatabaseError("gone")

        found = await read_all(Shelf(error=error), (ACME, [1]), (ACME, [1, 2]))

        assert [error, error] == found

    async def test_caller_gone(self) -> None:
        """A caller who goes takes nothing from the others."""
        shelf = Shelf()
        reads = SharedReads(shelf)
        going = asyncio.create_task(reads.read(ACME, [job_id(1)]))
        staying = asyncio.create_task(reads.read(ACME, [job_id(1)]))
        await asyncio.sleep(0)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

        await reads.run_once()

        assert {job_id(1): job(1)} == await staying
