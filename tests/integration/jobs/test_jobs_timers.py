"""What happens by the clock."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from services.jobs.database import PLANNER
from services.jobs.postgres_timers import PostgresTimers
from services.jobs.timer_ports import Due
from shared.postgres.pool import Postgres
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, seconds

HOUR = pb.SleepWait(duration=seconds(3600))
DEAD = job_pb2.JOB_STATE_DEAD_LETTERED


async def suspended(worker: RawWorker, key: str, **wait: Any) -> pb.AssignedJob:
    """Take a job and let it wait for one thing."""
    assigned = await worker.take_one()
    await worker.wait_for(assigned.token, key, **wait)
    await worker.suspend(assigned.token, key)
    return assigned


class TestWaits:
    async def test_sleep(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that sleeps goes on when its time has come, to the moment, on the same attempt."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        nap = pb.SleepWait(duration=seconds(0.3))
        first = await suspended(worker, "nap", sleep=nap)

        # Far sooner than anything looks for what nobody told of.
        async with asyncio.timeout(2):
            second = await worker.take_one()

        assert (first.job_id, 1) == (second.job_id, second.attempt)
        assert [("nap", "null", job_pb2.STEP_KIND_SLEEP)] == [
            (memo.key, memo.result_json, memo.kind) for memo in second.memo
        ]

    async def test_sleeper_stays_asleep(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """One whose time has not come does not wake with the others, and says until when."""
        worker = await workers.connect(service.address)
        ids = [await jobs.start_job() for _ in range(2)]
        await suspended(worker, "long", sleep=HOUR)
        await suspended(worker, "short", sleep=pb.SleepWait(duration=seconds(0.1)))

        await worker.take_one()

        states = Counter([(await jobs.get(job_id)).state for job_id in ids])
        assert {job_pb2.JOB_STATE_WAITING: 1, job_pb2.JOB_STATE_RUNNING: 1} == states

    @pytest.mark.parametrize(
        ("wait", "kind"),
        [
            (
                {"event": pb.EventWait(name="video/upload.completed", timeout=seconds(0.2))},
                job_pb2.STEP_KIND_EVENT,
            ),
            (
                {"signal": pb.SignalWait(name="go", timeout=seconds(0.2))},
                job_pb2.STEP_KIND_SIGNAL,
            ),
        ],
    )
    async def test_timeout(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        wait: dict[str, Any],
        kind: job_pb2.StepKind.ValueType,
    ) -> None:
        """What does not come in time is null."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        await suspended(worker, "it", **wait)

        (memo,) = (await worker.take_one()).memo

        assert ("it", "null", kind) == (memo.key, memo.result_json, memo.kind)

    async def test_running_job(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A sleep may end while another branch of the job is still at work."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        watch = jobs.watch(job_id)
        await worker.wait_for(token, "nap", sleep=pb.SleepWait(duration=seconds(0.2)))
        while not (job := await watch.next()).steps:
            pass
        ack = await worker.suspend(token, "nap")

        assert (job_pb2.JOB_STATE_RUNNING, "nap") == (job.state, job.steps[0].key)
        assert pb.ACK_STATE_STORED == ack.state
        assert job_id == (await worker.take_one()).job_id

    async def test_replica_that_stored_it_is_gone(
        self, serve_jobs: ServeJobs, produce: Produce, workers: Workers, postgres_url: str
    ) -> None:
        """Whichever replica lives finds what is due, within its poll."""
        service = await serve_jobs()
        jobs = await produce(service)
        worker = await workers.connect(service.address)
        await jobs.start_job()
        await suspended(worker, "nap", sleep=HOUR)
        # As if it had been stored elsewhere: nobody here has heard of it.
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(
            "SET mainstay.tenant = '*'; UPDATE jobs.waits SET due_time = now()"
        )
        await connection.close()

        assert ["nap"] == [memo.key for memo in (await worker.take_one()).memo]


class TestTurns:
    async def test_takes_too_long(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A turn that its worker does not end in time fails, 5 s later than the worker should."""
        definition = function(max_attempts=1)
        definition.timeout.CopyFrom(seconds(60))
        worker = await workers.connect(service.address, definition)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        granted = await database.fetchval(
            "SELECT extract(epoch FROM expire_time - create_time) FROM jobs.leases"
        )
        await database.execute("UPDATE jobs.leases SET expire_time = now()")

        job = await jobs.reaches(job_id, DEAD)

        assert (60, 65) == (assigned.timeout.ToTimedelta().total_seconds(), granted)
        assert ("TimedOut", False) == (job.failure.kind, job.failure.permanent)
        assert pb.ACK_STATE_FENCED == (await worker.complete(assigned.token)).state


class TestStarts:
    async def test_nobody_takes_it(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A job that has waited too long for its first attempt is a dead letter, and is logged."""
        definition = function()
        definition.start_timeout.CopyFrom(seconds(60))
        await workers.connect(service.address, definition)
        job_id = await jobs.start_job(request_id="req-42")
        granted = await database.fetchval(
            "SELECT extract(epoch FROM start_by - ready_time) FROM jobs.jobs"
        )
        with capture_logs() as lines:
            await database.execute("UPDATE jobs.jobs SET ready_time = now() - interval '61 s'")
            job = await jobs.reaches(job_id, DEAD)

        assert 60 == granted
        assert ("NotStarted", 0) == (job.failure.kind, job.attempt)
        (line,) = [line for line in lines if line["event"] == "job_not_started"]
        assert (job_id, "req-42", "acme", "dead_lettered") == (
            line["job_id"],
            line["request_id"],
            line["tenant"],
            line["state"],
        )
        left = "SELECT (SELECT count(*) FROM jobs.ready), (SELECT count(*) FROM jobs.dead_letters)"
        assert (0, 1) == tuple(await database.fetchrow(left))

    async def test_somebody_took_it(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Once it has begun, it has begun; also when it was given back."""
        definition = function()
        definition.start_timeout.CopyFrom(seconds(60))
        worker = await workers.connect(service.address, definition)
        await jobs.start_job()
        token = (await worker.take_one()).token
        running = await database.fetchval("SELECT start_by FROM jobs.jobs")
        await worker.fail(token)

        assert (None, None) == (running, await database.fetchval("SELECT start_by FROM jobs.jobs"))


class TestSeveralReplicas:
    JOBS = 300

    @pytest.fixture
    async def stores(self, service: Service, postgres_url: str) -> AsyncIterator[list[Any]]:
        """Provide the stores of several replicas."""
        pools = [Postgres(postgres_url, session_settings=PLANNER) for _ in range(3)]
        for pool in pools:
            await pool.start()
        yield [PostgresTimers(pool, lambda: 0.5) for pool in pools]
        for pool in pools:
            await pool.close()

    async def test_waits(
        self, stores: list[PostgresTimers], jobs: Producer, database: asyncpg.Connection
    ) -> None:
        """Each wait ends once, whoever is at it, and each job becomes ready once."""
        await database.execute(
            """
            WITH made AS (
                INSERT INTO jobs.jobs (
                    tenant, function, event_id, max_attempts, initial_backoff, max_backoff,
                    request_id, traceparent, state, attempt, ready_time
                )
                SELECT 'acme', 'f', jobs.uuid_v7(), 3, '0', '0', 'r', '', 'waiting', 1, NULL
                FROM generate_series(1, $1)
                RETURNING job_id
            )
            INSERT INTO jobs.waits (job_id, key, tenant, kind, due_time, attempt)
            SELECT job_id, key, 'acme', 'sleep', now() + interval '1 minute', 1
            FROM made CROSS JOIN (VALUES ('a'), ('b')) AS k (key)
            """,
            self.JOBS,
        )
        await database.execute("UPDATE jobs.waits SET due_time = now()")

        while await database.fetchval("SELECT count(*) FROM jobs.waits"):
            await asyncio.gather(*(store.finish_due_waits(50) for store in stores for _ in "12"))

        counts = "SELECT (SELECT count(*) FROM jobs.steps), (SELECT count(*) FROM jobs.ready)"
        assert (2 * self.JOBS, self.JOBS) == tuple(await database.fetchrow(counts))

    async def test_starts(
        self, stores: list[PostgresTimers], jobs: Producer, database: asyncpg.Connection
    ) -> None:
        """So does each job that nobody has started become a dead letter once."""
        await database.execute(
            """
            WITH made AS (
                INSERT INTO jobs.jobs (
                    tenant, function, event_id, max_attempts, initial_backoff, max_backoff,
                    request_id, traceparent, start_before
                )
                SELECT 'acme', 'f', jobs.uuid_v7(), 3, '0', '0', 'r', '', '1 minute'
                FROM generate_series(1, $1)
                RETURNING job_id, ready_time
            )
            INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes)
            SELECT job_id, 'f', 'acme', '', '', 0, 0 FROM made
            """,
            self.JOBS,
        )
        await database.execute("UPDATE jobs.jobs SET ready_time = now() - interval '61 s'")

        swept: list[UUID] = []
        while await database.fetchval("SELECT count(*) FROM jobs.ready"):
            sweeps = (store.bury_unstarted(50) for store in stores for _ in "12")
            swept += [job for each in await asyncio.gather(*sweeps) for job in each.jobs]

        assert set(swept) <= {r[0] for r in await database.fetch("SELECT job_id FROM jobs.jobs")}
        assert len(swept) == len(set(swept))
        buried = await database.fetchval("SELECT count(*) FROM jobs.dead_letters")
        assert self.JOBS == buried


class TestLook:
    async def test_next_of_each(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        postgres_url: str,
    ) -> None:
        """One statement says when the next of each kind is due."""
        postgres = Postgres(postgres_url, session_settings=PLANNER)
        await postgres.start()
        timers = PostgresTimers(postgres, lambda: 0.5)
        nothing = await timers.look()
        definition = function(max_attempts=1)
        definition.timeout.CopyFrom(seconds(60))
        definition.start_timeout.CopyFrom(seconds(120))
        worker = await workers.connect(service.address, definition)
        for _ in range(3):
            await jobs.start_job()
        await suspended(worker, "nap", sleep=HOUR)
        await worker.take_one()

        due = await timers.look()

        await postgres.close()
        assert Due(sessions=None, waits=None, turns=None, starts=None) == nothing
        assert [30, 3600, 65, 120] == [
            round(each or 0, -1) if each != due.turns else round(each or 0)
            for each in (due.sessions, due.waits, due.turns, due.starts)
        ]
