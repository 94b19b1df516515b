"""Jobs that hang in the hands of a worker that lives."""

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function, seconds


class TestHungJob:
    async def test_fails(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """The turn of a job that does not move fails, and another may begin at once."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token

        ack = await worker.heartbeat(token, idle=301)
        again = await worker.take_one()

        assert [token] == list(ack.lost_tokens)
        job = await jobs.get(job_id)
        assert ("Hung", False) == (job.failure.kind, job.failure.permanent)
        assert "301 s" in job.failure.message
        assert (job_id, 2) == (again.job_id, again.attempt)

    async def test_late_report(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What the turn still reports is fenced."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.heartbeat(token, idle=301)

        assert pb.ACK_STATE_FENCED == (await worker.complete(token)).state

    async def test_last_attempt(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """It counts as an attempt: after the last the job is a dead letter."""
        worker = await workers.connect(service.address, function(max_attempts=1))
        job_id = await jobs.start_job()
        await worker.heartbeat((await worker.take_one()).token, idle=301)

        assert job_pb2.JOB_STATE_DEAD_LETTERED == (await jobs.get(job_id)).state

    async def test_only_that_one(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Other jobs of the worker go on."""
        worker = await workers.connect(service.address)
        for _ in range(2):
            await jobs.start_job()
        stuck, fine = await worker.take(2)
        beats = [pb.JobBeat(token=stuck.token, idle=seconds(301))]
        beats.append(pb.JobBeat(token=fine.token, idle=seconds(299)))
        beats.append(pb.JobBeat(token=b"nonsense", idle=seconds(999)))

        await worker.send(heartbeat=pb.Heartbeat(tokens=[stuck.token, fine.token], jobs=beats))
        ack = await worker.next("heartbeat")

        assert [stuck.token] == list(ack.lost_tokens)
        assert pb.ACK_STATE_STORED == (await worker.complete(fine.token)).state


class TestTimeout:
    async def test_of_the_function(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A function may say how long; the worker is told."""
        definition = function()
        definition.hang_timeout.CopyFrom(seconds(20))
        worker = await workers.connect(service.address, definition)
        await jobs.start_job()
        assigned = await worker.take_one()

        before = await worker.heartbeat(assigned.token, idle=20)
        after = await worker.heartbeat(assigned.token, idle=20.5)

        assert 20 == assigned.hang_timeout.ToTimedelta().total_seconds()
        assert ([], [assigned.token]) == (list(before.lost_tokens), list(after.lost_tokens))

    async def test_of_the_service(
        self, serve_jobs: ServeJobs, produce: Produce, workers: Workers
    ) -> None:
        """For the others the service's own setting counts."""
        service = await serve_jobs(jobs_hang_timeout=5)
        jobs = await produce(service)
        worker = await workers.connect(service.address)
        await jobs.start_job()
        assigned = await worker.take_one()

        ack = await worker.heartbeat(assigned.token, idle=6)

        assert not assigned.HasField("hang_timeout")
        assert [assigned.token] == list(ack.lost_tokens)
