"""Several replicas of the service on one database."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest

from mainstay.jobs.v1 import job_pb2
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import video_event
from tests.integration.jobs.raw_worker import Workers, raw_workers

INSERT_WAITING = """
WITH event AS (
    INSERT INTO jobs.events (event_id, tenant, name, version, request_id, traceparent)
    VALUES (jobs.uuid_v7(), 'acme', 'video/upload.completed', 1, 'by-hand', '')
    RETURNING event_id
), payload AS (
    INSERT INTO jobs.payloads (event_id, tenant, data) SELECT event_id, 'acme', '{}' FROM event
), job AS (
    INSERT INTO jobs.jobs (
        tenant, function, event_id, max_attempts, initial_backoff, max_backoff,
        request_id, traceparent
    )
    SELECT 'acme', 'process-video', event_id, 3, '1 s', '1 s', 'by-hand', '' FROM event
    RETURNING job_id, function, tenant, priority
)
"""
INSERT_JOB = f"""{INSERT_WAITING}
INSERT INTO jobs.queue (job_id, function, tenant, priority) SELECT * FROM job RETURNING job_id
"""
INSERT_DELAYED = f"""{INSERT_WAITING}
INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
SELECT job.*, now() + interval '50 ms' FROM job
RETURNING job_id
"""


@pytest.fixture
async def pair(serve_jobs: ServeJobs) -> list[Service]:
    """Start two replicas at the same moment, on a database that is still empty."""
    return list(await asyncio.gather(serve_jobs(), serve_jobs()))


@pytest.fixture
async def workers(pair: list[Service]) -> AsyncIterator[Workers]:
    """Provide raw workers, whose streams break before the replicas stop."""
    async with raw_workers() as workers:
        yield workers


@pytest.fixture
async def database(pair: list[Service], postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database as the engine does."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestNewsBetweenReplicas:
    async def test_event_here_worker_there(
        self, pair: list[Service], produce: Produce, workers: Workers
    ) -> None:
        """What is sent to one replica is done by a worker of another, and watched on the first.

        Polls are half a minute apart here: the news travels by notification.
        """
        here, there = pair
        jobs = await produce(here)
        worker = await workers.connect(there.address)
        await worker.credit(1)
        await worker.beat()
        watch = jobs.watch(await jobs.start_job())
        assert job_pb2.JOB_STATE_QUEUED == (await watch.next()).state

        assigned = await worker.job()
        await watch.until(job_pb2.JOB_STATE_RUNNING)
        await worker.step(assigned.token, "probe")
        await worker.complete(assigned.token)
        states = [job.state for job in await watch.rest()]

        assert job_pb2.JOB_STATE_SUCCEEDED == states[-1]

    async def test_listener_lost(
        self,
        pair: list[Service],
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """When the connection that listens dies, it is replaced and nothing stays unseen."""
        here, there = pair
        jobs = await produce(here)
        worker = await workers.connect(there.address)
        await worker.credit(2)
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        )
        # Sent while nobody listens: found by the look at everything after the new LISTEN.
        unheard = await jobs.start_job()

        assert unheard == (await worker.job()).job_id

    async def test_listener_lost_by_a_watcher(
        self,
        pair: list[Service],
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Nor does a watcher miss what changed elsewhere meanwhile."""
        here, there = pair
        await workers.connect(here.address)
        watch = (await produce(there)).watch(await (await produce(here)).start_job())
        await watch.next()
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        )
        worker = await workers.connect(here.address)
        await worker.take_one()

        assert job_pb2.JOB_STATE_RUNNING == (await watch.next()).state

    async def test_poll(
        self,
        serve_jobs: ServeJobs,
        pair: list[Service],
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """What nobody told of is found by a poll: work by the dispatcher, changes by watchers."""
        polling = await serve_jobs(jobs_poll_interval=0.1)
        jobs = await produce(polling)
        worker = await workers.connect(polling.address)
        await worker.credit(1)
        await worker.beat()
        untold = str(await database.fetchval(INSERT_JOB))
        assigned = await worker.job()

        watch = jobs.watch(untold)
        seen = await watch.next()
        await database.execute("UPDATE jobs.jobs SET revision = revision + 1")
        changed = await watch.next()

        assert untold == assigned.job_id
        assert seen.revision + 1 == changed.revision


class TestDelayedElsewhere:
    async def test_steady_news(
        self,
        serve_jobs: ServeJobs,
        pair: list[Service],
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A delayed job that nobody told of starts when due, however busy the replica is."""
        busy = await serve_jobs(jobs_poll_interval=0.2)
        worker = await workers.connect(busy.address)
        # The replica looks for delayed jobs when there is room for the first time, and finds none.
        await worker.credit(1)
        await worker.beat()
        untold = str(await database.fetchval(INSERT_DELAYED))
        for _ in range(900):
            # Each is news, and they come faster than the polls.
            await worker.credit(1)
            await worker.beat()
            if worker.frames("jobs"):
                break

        assert 1 == worker.frames("jobs")
        assert untold == (await worker.job()).job_id

    async def test_replica_without_workers(
        self,
        serve_jobs: ServeJobs,
        pair: list[Service],
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A replica that has no workers makes due jobs ready for those that have, and says so."""
        there, _ = pair
        worker = await workers.connect(there.address)
        await worker.credit(1)
        await worker.beat()
        untold = str(await database.fetchval(INSERT_DELAYED))
        # The polls of the others are half a minute apart.
        await serve_jobs(jobs_poll_interval=0.1)

        assert untold == (await worker.job()).job_id


class TestSharedWork:
    async def test_every_job_once(
        self, pair: list[Service], produce: Produce, workers: Workers
    ) -> None:
        """Workers of several replicas take from one queue, and no job goes to two of them."""
        jobs = await produce(pair[0])
        crew = [await workers.connect(service.address) for service in pair]
        accepted = await jobs.send(*[video_event() for _ in range(60)])

        taken = await asyncio.gather(*[worker.take(30) for worker in crew])

        assert sorted(job_id for event in accepted for job_id in event.job_ids) == sorted(
            job.job_id for batch in taken for job in batch
        )

    async def test_claims_pass_each_other(
        self,
        pair: list[Service],
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """What one replica is just claiming does not hold up another."""
        jobs = await produce(pair[0])
        worker = await workers.connect(pair[0].address)
        await jobs.start_job()
        second = await jobs.start_job()
        async with database.transaction():
            await database.execute("SELECT FROM jobs.ready ORDER BY rank LIMIT 1 FOR UPDATE")

            assigned = await worker.take_one()

        assert second == assigned.job_id

    async def test_resume_elsewhere(
        self, pair: list[Service], produce: Produce, workers: Workers
    ) -> None:
        """A worker resumes on another replica while the first still thinks that it is there."""
        here, there = pair
        jobs = await produce(here)
        first = await workers.connect(here.address)
        job_id = await jobs.start_job()
        assigned = await first.take_one()

        second = await workers.connect(
            there.address, resume=first.welcome.session, in_flight=[assigned.token]
        )
        await second.complete(assigned.token)

        assert first.welcome.session == second.welcome.session
        assert job_pb2.JOB_STATE_SUCCEEDED == (await jobs.get(job_id)).state

    async def test_stream_left_behind(
        self, pair: list[Service], produce: Produce, workers: Workers
    ) -> None:
        """A stream whose worker has moved to another replica gets no job and keeps none back."""
        here, there = pair
        jobs = await produce(here)
        left_behind = await workers.connect(here.address)
        await left_behind.credit(50)
        await left_behind.beat()
        await workers.connect(there.address, resume=left_behind.welcome.session)
        other = await workers.connect(here.address)
        job_id = await jobs.start_job()

        assigned = await other.take_one()
        code, _ = await left_behind.end()

        assert job_id == assigned.job_id
        assert (grpc.StatusCode.UNAVAILABLE, 0) == (code, left_behind.frames("jobs"))

    async def test_heartbeat_left_behind(self, pair: list[Service], workers: Workers) -> None:
        """Nor can such a stream keep the session alive."""
        here, there = pair
        left_behind = await workers.connect(here.address)
        await workers.connect(there.address, resume=left_behind.welcome.session)
        await left_behind.send(heartbeat={})

        code, _ = await left_behind.end()

        assert grpc.StatusCode.UNAVAILABLE == code
