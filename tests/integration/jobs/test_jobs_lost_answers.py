"""Transactions that took place although their answer was lost, and are tried again."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import UUID

import asyncpg
import pytest

from mainstay.errors import DatabaseError, MainstayError
from mainstay.jobs.v1 import job_pb2
from services.jobs.event import NewCall, NewEvent, Origin
from services.jobs.frames import Hello
from services.jobs.function import DEFAULT_BACKOFF, FunctionDefinition
from services.jobs.job import EventId, JobId, SessionId
from services.jobs.postgres_events import PostgresEvents
from services.jobs.postgres_sessions import PostgresSessions
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, raw_workers

ACME = Tenant("acme")
ORIGIN = Origin(tenant=ACME, request_id="req-1", traceparent="")


def new_event(number: int, key: str) -> NewEvent:
    """Return an event that was checked."""
    return NewEvent(
        event_id=EventId(UUID(int=number)),
        name="video/upload.completed",
        data="{}",
        size=2,
        value={},
        idempotency_key=key,
        content_hash=b"h",
    )


class LosesAnswers(Postgres):
    """Loses the answers to the next commits, which take place."""

    lose = 0

    @asynccontextmanager
    async def transaction(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """Run a transaction; raise DatabaseError after its commit when it is to be lost."""
        async with super().transaction(tenant) as connection:
            yield connection
        if self.lose:
            self.lose -= 1
            raise DatabaseError("the connection was cut while the commit was on its way")


@pytest.fixture
async def postgres(service: Service, postgres_url: str) -> AsyncIterator[Postgres]:
    """Connect to the database of the service."""
    postgres = Postgres(postgres_url)
    await postgres.start()
    yield postgres
    await postgres.close()


class TestAccept:
    @pytest.mark.parametrize("key", ["", "k"])
    async def test_committed(
        self,
        service: Service,
        workers: Workers,
        postgres_url: str,
        database: asyncpg.Connection,
        key: str,
    ) -> None:
        """Events whose commit was not answered are not stored again, with a key or without."""
        await workers.connect(service.address)
        postgres = LosesAnswers(postgres_url)
        await postgres.start()
        postgres.lose = 1
        ids = count(1)
        store = PostgresEvents(postgres, lambda: JobId(UUID(int=next(ids))))
        call = NewCall(origin=ORIGIN, events=(new_event(1, key), new_event(2, "")))

        stored = await store.accept(ACME, [call])
        await postgres.close()

        (events,) = stored.outcomes
        assert not isinstance(events, MainstayError)
        assert [False, False] == [event.duplicate for event in events]
        rows = await database.fetch("SELECT event_id, job_id FROM jobs.jobs ORDER BY job_id")
        assert [(event.event_id, event.job_ids) for event in events] == [
            (row["event_id"], (row["job_id"],)) for row in rows
        ]

    async def test_rolled_back(
        self, service: Service, workers: Workers, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """Events whose transaction broke off are stored when it is tried again."""
        await workers.connect(service.address)
        postgres = Postgres(postgres_url)
        await postgres.start()
        ids = count(1)

        def new_id() -> JobId:
            number = next(ids)
            if number == 1:
                raise DatabaseError("the connection was cut in the middle")
            return JobId(UUID(int=number))

        call = NewCall(origin=ORIGIN, events=(new_event(1, "k"),))

        await PostgresEvents(postgres, new_id).accept(ACME, [call])
        await postgres.close()

        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.jobs")


class TestOpen:
    async def test_again(self, postgres: Postgres) -> None:
        """A session that is begun again under its id is one session."""
        store = PostgresSessions(postgres, random.random)
        function = FunctionDefinition(
            name="f", trigger="email/send", max_attempts=3, backoff=DEFAULT_BACKOFF
        )
        hello = Hello(worker="w", functions=(function,), resume=None, in_flight=())
        new_id = SessionId(UUID(int=7))

        opened = [await store.open(ACME, new_id, hello, lease=30) for _ in range(2)]

        assert [(new_id, 1)] * 2 == [(each.session_id, each.stream) for each in opened]


class TestClaim:
    async def test_comes_back(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A job that was assigned without anybody's hearing of it comes back by heartbeat."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await database.execute("DELETE FROM jobs.ready")
        await database.execute(
            "UPDATE jobs.jobs SET state = 'running', attempt = 1, epoch = 1, worker = 'w', "
            "ready_time = NULL"
        )
        await database.execute(
            "INSERT INTO jobs.leases (job_id, tenant, epoch, session_id, steps_bytes, create_time) "
            "SELECT job_id, tenant, 1, $1, 0, now() - interval '31 seconds' FROM jobs.jobs",
            UUID(bytes=worker.welcome.session),
        )

        await worker.beat()
        assigned = await worker.take_one()

        assert (job_id, 1) == (assigned.job_id, assigned.attempt)


class TestComingBack:
    async def test_grace(self, serve_jobs: ServeJobs, produce: Produce, postgres_url: str) -> None:
        """A service that was away gives workers time to come back before it takes their jobs."""
        first = await serve_jobs()
        jobs = await produce(first)
        async with raw_workers() as workers:
            worker = await workers.connect(first.address)
            job_id = await jobs.start_job()
            assigned = await worker.take_one()
            connection = await asyncpg.connect(postgres_url)
            await connection.execute("SET mainstay.tenant = '*'")
            # As after an outage that was longer than the lease.
            await connection.execute(
                "UPDATE jobs.sessions SET lease_expire_time = now() - '1 h'::interval"
            )
            await connection.close()
            second = await serve_jobs(jobs_resume_window=2.0)

            again = await workers.connect(
                second.address, resume=worker.welcome.session, in_flight=[assigned.token]
            )

            assert list(again.welcome.lost_tokens) == []
            assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(job_id)).state
