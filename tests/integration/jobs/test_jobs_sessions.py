"""A worker's session: terms, credits, heartbeats, resuming, leaving."""

import asyncpg
import grpc
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs, jobs_service
from tests.integration.jobs.producer import Producer, producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, raw_workers


class TestWelcome:
    async def test_terms(self, service: Service, workers: Workers) -> None:
        """A worker is told how long its session lives and how often to beat."""
        welcome = (await workers.connect(service.address)).welcome

        terms = (welcome.heartbeat_interval, welcome.lease, welcome.resume_window)
        assert [10, 30, 5] == [term.seconds for term in terms]
        assert len(welcome.session) == 16

    async def test_sessions_differ(self, service: Service, workers: Workers) -> None:
        """Workers of one name have sessions of their own."""
        first = await workers.connect(service.address, worker="same")
        second = await workers.connect(service.address, worker="same")

        assert first.welcome.session != second.welcome.session


class TestCredits:
    async def test_never_exceeded(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker never gets more jobs than it asked for."""
        worker = await workers.connect(service.address)
        await jobs.send(*[video_event() for _ in range(20)])
        counts = []
        for granted in (0, 3, 1):
            taken = await worker.take(granted)
            # The answer to a heartbeat comes after whatever was handed out meanwhile.
            await worker.beat(*[job.token for job in taken])
            await worker.beat(*[job.token for job in taken])
            counts.append(len(taken) + worker.frames("jobs"))

        assert [0, 3, 1] == counts

    async def test_shared_out(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Work spreads over the workers that ask for it."""
        pair = [await workers.connect(service.address) for _ in range(2)]
        for worker in pair:
            await worker.credit(5)
        await jobs.send(*[video_event() for _ in range(10)])

        taken = [[(await worker.job()).job_id for _ in range(5)] for worker in pair]

        assert 10 == len(set(taken[0] + taken[1]))

    async def test_drain(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker that drains gets no more jobs and may finish those it has."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        assigned = (await worker.take(1))[0]
        await worker.credit(5)
        await worker.send(drain=pb.Drain())
        await worker.beat(assigned.token)
        waiting = await jobs.start_job()

        ack = await worker.complete(assigned.token)
        await worker.beat()

        assert pb.ACK_STATE_STORED == ack.state
        assert worker.frames("jobs") == 0
        # A claim that was on its way when the worker drained is given back.
        assert 0 == (await jobs.reaches(waiting, job_pb2.JOB_STATE_QUEUED)).attempt


class TestResume:
    async def test_keeps_its_jobs(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker whose stream broke goes on with its job on the next one."""
        first = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await first.take_one()
        await first.step(assigned.token, "before")
        await first.cut()

        second = await workers.connect(
            service.address, resume=first.welcome.session, in_flight=[assigned.token]
        )
        await second.report(
            assigned.token,
            sequence=2,
            step_completed=pb.StepCompleted(key="after", result_json="1"),
        )
        await second.report(assigned.token, sequence=3, completed=pb.Completed(result_json="1"))

        job = await jobs.get(job_id)
        assert first.welcome.session == second.welcome.session
        assert list(second.welcome.lost_tokens) == []
        assert (job_pb2.JOB_STATE_SUCCEEDED, 1) == (job.state, job.attempt)
        assert ["before", "after"] == [step.key for step in job.steps]

    async def test_credits_begin_anew(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Credits belong to a stream: a new one has none."""
        first = await workers.connect(service.address)
        await first.credit(5)
        await first.beat()
        await first.cut()
        second = await workers.connect(service.address, resume=first.welcome.session)
        await jobs.start_job()
        await second.beat()

        assert second.frames("jobs") == 0

    async def test_job_it_never_got(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that got lost on the way to the worker goes back, its attempt not burnt."""
        first = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await first.take_one()
        await first.cut()

        second = await workers.connect(service.address, resume=first.welcome.session)
        again = await second.take_one()

        assert (job_id, 1) == (again.job_id, again.attempt)

    async def test_job_it_never_had(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A worker is told which of its tokens are not its own."""
        first = await workers.connect(service.address)
        await jobs.send(video_event(), video_event())
        mine, done = await first.take(2)
        await first.complete(done.token)
        await first.cut()

        second = await workers.connect(
            service.address,
            resume=first.welcome.session,
            in_flight=[done.token, mine.token, b"odd"],
        )

        assert [done.token, b"odd"] == list(second.welcome.lost_tokens)

    @pytest.mark.parametrize("session", [b"\0" * 16, b"odd"])
    async def test_unknown_session(
        self, service: Service, workers: Workers, session: bytes
    ) -> None:
        """A session that is gone is replaced by a new one, with none of the old jobs."""
        worker = await workers.connect(service.address, resume=session, in_flight=[b"a", b"b"])

        assert session != worker.welcome.session
        assert [b"a", b"b"] == list(worker.welcome.lost_tokens)

    async def test_newer_stream(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A second stream of a session ends the first, and the first's end ends nothing."""
        first = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await first.take_one()

        second = await workers.connect(
            service.address, resume=first.welcome.session, in_flight=[assigned.token]
        )
        ended = await first.end()
        lost = await second.beat(assigned.token)

        assert grpc.StatusCode.OK == ended[0]
        assert lost == []
        assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(job_id)).state


class TestHeartbeat:
    async def test_renews(
        self, service: Service, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Every heartbeat counts the lease anew, by the database's clock."""
        worker = await workers.connect(service.address)
        await database.execute("UPDATE jobs.sessions SET lease_expire_time = now()")
        await worker.beat()

        left = await database.fetchval(
            "SELECT extract(epoch FROM lease_expire_time - now()) FROM jobs.sessions"
        )

        assert 29 < left <= 30

    async def test_lost_tokens(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A worker is told which of its jobs are no longer its own."""
        worker = await workers.connect(service.address)
        await jobs.send(video_event(), video_event())
        mine, done = await worker.take(2)
        await worker.complete(done.token)

        assert [done.token, b"odd"] == await worker.beat(mine.token, done.token, b"odd")

    async def test_forgotten_job(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A job that its worker has not heard of for a whole lease is put back."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.beat()
        await database.execute("UPDATE jobs.leases SET create_time = now() - interval '31 seconds'")

        await worker.beat()
        again = await worker.take_one()

        assert (job_id, 1) == (again.job_id, again.attempt)
        assert first.token != again.token

    async def test_session_is_gone(
        self, service: Service, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A worker whose session has ended is told to connect again."""
        worker = await workers.connect(service.address)
        await database.execute("DELETE FROM jobs.sessions")
        await worker.send(heartbeat=pb.Heartbeat())

        code, details = await worker.end()

        assert grpc.StatusCode.UNAVAILABLE == code
        assert "connect again" in details

    async def test_silence(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A silent worker is cut off at the end of its lease, and its job goes to another."""
        service = await serve_jobs(
            jobs_session_lease=0.8, jobs_heartbeat_interval=0.4, jobs_resume_window=0.2
        )
        jobs = await produce(service)
        async with raw_workers() as workers:
            silent = await workers.connect(service.address, worker="silent")
            job_id = await jobs.start_job()
            await silent.take_one()
            code, details = await silent.end()

            other = await workers.connect(service.address, worker="other")
            again = await other.take_one()

            assert grpc.StatusCode.UNAVAILABLE == code
            assert "no heartbeat for 0.8 s" in details
            assert (job_id, 2) == (again.job_id, again.attempt)


class TestGoAway:
    async def test_stop(self, postgres_url: str) -> None:
        """A service that stops sends its workers away; they keep their jobs and go on elsewhere."""
        async with jobs_service(postgres_url).running() as staying, raw_workers() as workers:
            async with jobs_service(postgres_url).running() as leaving:
                worker = await workers.connect(leaving.address)
                async with producer(leaving.address, "acme") as jobs:
                    job_id = await jobs.start_job()
                assigned = await worker.take_one()
            go_away = await worker.next("go_away")
            code, _ = await worker.end()

            again = await workers.connect(
                staying.address, resume=worker.welcome.session, in_flight=[assigned.token]
            )
            await again.complete(assigned.token)

            async with producer(staying.address, "acme") as jobs:
                job = await jobs.get(job_id)
            assert "shutting down" in go_away.reason
            assert grpc.StatusCode.OK == code
            assert (job_pb2.JOB_STATE_SUCCEEDED, 1) == (job.state, job.attempt)

    async def test_lease_is_not_shortened(self, postgres_url: str) -> None:
        """A worker that was sent away has its whole lease to come back."""
        async with raw_workers() as workers, jobs_service(postgres_url).running() as service:
            await workers.connect(service.address)
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("SET mainstay.tenant = '*'")

        left = await connection.fetchval(
            "SELECT extract(epoch FROM lease_expire_time - now()) FROM jobs.sessions"
        )

        await connection.close()
        assert left > 25


class TestLeaving:
    async def test_broken_stream(
        self, service: Service, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """When a stream breaks, the session has the resume window left."""
        worker = await workers.connect(service.address)
        other = await workers.connect(service.address, function("other"))
        await worker.say_goodbye()
        # The end is stored by a task of its own; the other's heartbeats give it the time.
        for _ in range(50):
            await other.beat()
            left = await database.fetchval(
                "SELECT min(extract(epoch FROM lease_expire_time - now())) FROM jobs.sessions"
            )
            if left <= 5:
                break

        assert left <= 5
