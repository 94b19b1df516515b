"""Late, foreign and repeated writers."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from services.jobs.job import JobId, SessionId
from services.jobs.postgres_sessions import PostgresSessions
from services.jobs.token import Token
from shared.postgres.pool import Postgres
from shared.rpc.call import Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, raw_workers, seconds
from tests.integration.jobs.test_jobs_waits import blocked

STEP: dict[str, Any] = {"step_completed": pb.StepCompleted(key="late", result_json='"late"')}
PROGRESS = {"progress": pb.ProgressReported(fraction=0.9, message="late")}
COMPLETED: dict[str, Any] = {"completed": pb.Completed(result_json='"late"')}
FAILED = {"failed": pb.Failed(kind="Late", permanent=True)}
RELEASED = {"released": pb.Released()}
WAIT = {
    "wait_begun": pb.WaitBegun(key="late", sleep=pb.SleepWait(duration=seconds(1))),
}
SUSPENDED = {"suspended": pb.Suspended(keys=["late"])}
STOPPED = {"stopped": pb.Stopped()}
UNDONE = {"step_compensated": pb.StepCompensated(key="late")}
EVERY_KIND: list[dict[str, Any]] = [
    STEP,
    PROGRESS,
    COMPLETED,
    FAILED,
    RELEASED,
    WAIT,
    SUSPENDED,
    STOPPED,
    UNDONE,
]


class TestLateWriter:
    @pytest.mark.parametrize("news", EVERY_KIND, ids=lambda news: next(iter(news)))
    async def test_after_takeover(
        self, serve_jobs: ServeJobs, produce: Produce, news: dict[str, object]
    ) -> None:
        """A worker that lost its job to another changes nothing of it any more."""
        service = await serve_jobs(jobs_resume_window=0.2)
        jobs = await produce(service)
        async with raw_workers() as workers:
            old = await workers.connect(service.address, worker="old")
            job_id = await jobs.start_job()
            lost = await old.take_one()
            await old.cut()
            new = await workers.connect(service.address, worker="new")
            mine = await new.take_one()

            back = await workers.connect(
                service.address,
                worker="old",
                resume=old.welcome.session,
                in_flight=[lost.token],
            )
            ack = await back.report(lost.token, sequence=1, **news)
            await new.complete(mine.token, '"right"')

            job = await jobs.get(job_id)
            assert [lost.token] == list(back.welcome.lost_tokens)
            assert pb.ACK_STATE_FENCED == ack.state
            assert (job_pb2.JOB_STATE_SUCCEEDED, '"right"', 0) == (
                job.state,
                job.result_json,
                len(job.steps),
            )

    async def test_own_earlier_turn(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Not even the same worker may write for an earlier turn at the same job."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        first = await worker.take_one()
        await worker.release(first.token)
        second = await worker.take_one()

        late = await worker.report(first.token, sequence=9, **COMPLETED)
        right = await worker.complete(second.token)

        assert first.token != second.token
        assert [pb.ACK_STATE_FENCED, pb.ACK_STATE_STORED] == [late.state, right.state]


class TestForeignWriter:
    async def test_token_of_another(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A token is worth nothing on a session that does not hold its lease."""
        owner = await workers.connect(service.address)
        thief = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await owner.take_one()

        stolen = await thief.complete(assigned.token, '"stolen"')

        assert pb.ACK_STATE_FENCED == stolen.state
        assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(job_id)).state
        assert pb.ACK_STATE_STORED == (await owner.complete(assigned.token)).state

    async def test_garbage(self, service: Service, workers: Workers) -> None:
        """A token that nobody gave out is answered, and the session goes on."""
        worker = await workers.connect(service.address)
        garbage = [b"", b"garbage", b"\1" * 25, b"x" * 16_000]

        states = [(await worker.report(token, **STEP)).state for token in garbage]

        rejected, fenced = pb.ACK_STATE_REJECTED, pb.ACK_STATE_FENCED
        assert [rejected, rejected, fenced, rejected] == states
        assert await worker.beat() == []


class TestRepetition:
    async def connect_again(
        self, workers: Workers, service: Service, worker: RawWorker, token: bytes
    ) -> RawWorker:
        """Break the stream and resume with the job."""
        await worker.cut()
        return await workers.connect(
            service.address, resume=worker.welcome.session, in_flight=[token]
        )

    @pytest.mark.parametrize("news", [COMPLETED, FAILED, RELEASED], ids=["done", "failed", "back"])
    async def test_end_repeated(
        self, service: Service, jobs: Producer, workers: Workers, news: dict[str, object]
    ) -> None:
        """The end of a job whose answer got lost may be repeated and counts once."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.report(token, sequence=1, **news)
        before = await jobs.get(job_id)
        again = await self.connect_again(workers, service, worker, token)

        ack = await again.report(token, sequence=1, **news)

        assert pb.ACK_STATE_DUPLICATE == ack.state
        assert before == await jobs.get(job_id)

    async def test_step_repeated(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A finished step keeps its first result, under its old sequence and under a new one."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.step(token, "a", "1")
        again = await self.connect_again(workers, service, worker, token)
        other = pb.StepCompleted(key="a", result_json="2")

        acks = [
            await again.report(token, sequence=number, step_completed=other) for number in (1, 2)
        ]

        assert [pb.ACK_STATE_DUPLICATE] * 2 == [ack.state for ack in acks]
        assert ["1"] == [step.result_json for step in (await jobs.get(job_id)).steps]

    async def test_one_batch(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Reports of a batch are applied in their order and answered one by one."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token

        acks = await worker.report_all(
            pb.Report(
                token=token, sequence=1, step_completed=pb.StepCompleted(key="a", result_json="1")
            ),
            pb.Report(
                token=token, sequence=1, step_completed=pb.StepCompleted(key="b", result_json="1")
            ),
            pb.Report(
                token=token, sequence=2, step_completed=pb.StepCompleted(key="c", result_json="{")
            ),
            pb.Report(token=token, sequence=2, completed=pb.Completed(result_json="3")),
            pb.Report(token=token, sequence=3, released=pb.Released()),
        )

        assert [
            pb.ACK_STATE_STORED,
            pb.ACK_STATE_DUPLICATE,
            pb.ACK_STATE_REJECTED,
            pb.ACK_STATE_STORED,
            pb.ACK_STATE_FENCED,
        ] == [ack.state for ack in acks]
        assert [1, 1, 2, 2, 3] == [ack.sequence for ack in acks]
        job = await jobs.get(job_id)
        assert (["a"], "3") == ([step.key for step in job.steps], job.result_json)


class TestRejectedAgain:
    async def test_answers_lost(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A rejected step whose answer was lost is not taken for stored when it comes again."""
        first = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await first.take_one()).token
        batch = [
            first.make_report(token, step_completed=pb.StepCompleted(key=key, result_json=result))
            for key, result in (("bad", "{"), ("good", "1"))
        ]
        await first.report_all(*batch)
        await first.cut()
        second = await workers.connect(
            service.address, resume=first.welcome.session, in_flight=[token]
        )

        answers = await second.report_all(*batch)

        assert [pb.ACK_STATE_REJECTED, pb.ACK_STATE_DUPLICATE] == [each.state for each in answers]
        assert "not JSON" in answers[0].message
        assert ["good"] == [step.key for step in (await jobs.get(job_id)).steps]


class TestLateReturn:
    async def test_later_turn(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
        postgres_url: str,
    ) -> None:
        """What never reached a worker is not put back once the same session has it again."""
        worker = await workers.connect(service.address)
        job_id = JobId(UUID(await jobs.start_job()))
        await worker.take_one()
        session_id = SessionId(UUID(bytes=worker.welcome.session))
        postgres = Postgres(postgres_url)
        await postgres.start()
        sessions = PostgresSessions(postgres, lambda: 0.0)
        undelivered = [Token(job_id=job_id, epoch=1)]

        async with database.transaction():
            await database.execute("SELECT FROM jobs.jobs WHERE job_id = $1 FOR UPDATE", job_id)
            giving = asyncio.create_task(
                sessions.give_back(Tenant("acme"), session_id, undelivered)
            )
            await blocked(database)
            await database.execute("UPDATE jobs.jobs SET epoch = 2 WHERE job_id = $1", job_id)
            await database.execute("UPDATE jobs.leases SET epoch = 2 WHERE job_id = $1", job_id)
        given_back = await giving
        await postgres.close()

        assert [] == given_back
        assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(str(job_id))).state
