"""Signals to jobs."""

import asyncio

import pytest

from mainstay.errors import NotFoundError, PreconditionError, QuotaError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers

NOBODYS = "018f0000-0000-7000-8000-000000000000"


async def waits(worker: RawWorker, *names: str) -> pb.AssignedJob:
    """Take a job and let a step wait for each of the signals; the step has the signal's name."""
    assigned = await worker.take_one()
    for name in names:
        await worker.wait_for(assigned.token, name, signal=pb.SignalWait(name=name))
    await worker.suspend(assigned.token, *names)
    return assigned


class TestStepThatWaits:
    async def test_goes_on(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A signal ends the wait of a step and becomes its result; no attempt is burnt."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await waits(worker, "approved")
        (wait,) = (await jobs.get(job_id)).waits

        await jobs.signal(job_id, "approved", '{"by": "ann"}')
        again = await worker.take_one()

        assert (job_pb2.STEP_KIND_SIGNAL, "approved") == (wait.kind, wait.subject)
        assert [("approved", '{"data":{"by": "ann"}}', job_pb2.STEP_KIND_SIGNAL)] == [
            (memo.key, memo.result_json, memo.kind) for memo in again.memo
        ]
        assert (1, []) == (again.attempt, list((await jobs.get(job_id)).waits))

    async def test_other_name(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A signal of another name wakes nobody."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await waits(worker, "approved")

        await jobs.signal(job_id, "refused")

        job = await jobs.get(job_id)
        assert (job_pb2.JOB_STATE_WAITING, 1) == (job.state, len(job.waits))
        assert not job.HasField("ready_time")

    async def test_nothing_to_say(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A signal without data says null."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await waits(worker, "go")

        await jobs.signal(job_id, "go")

        assert ['{"data":null}'] == [m.result_json for m in (await worker.take_one()).memo]


class TestKept:
    async def test_until_a_step_waits(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What came before a step waits for it is taken in order, each by one step."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        for number in (1, 2):
            await jobs.signal(job_id, "go", str(number))
        assigned = await worker.take_one()
        for key in ("first", "second", "third"):
            await worker.wait_for(assigned.token, key, signal=pb.SignalWait(name="go"))

        job = await jobs.get(job_id)

        assert [("first", '{"data":1}'), ("second", '{"data":2}')] == [
            (step.key, step.result_json) for step in job.steps
        ]
        assert ["third"] == [wait.key for wait in job.waits]

    async def test_many_at_once(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """However signals and waits meet, none is lost and none is told twice."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token

        async def wait_for_all() -> None:
            for number in range(20):
                key = f"s{number}"
                await worker.wait_for(token, key, signal=pb.SignalWait(name="go"))

        await asyncio.gather(
            wait_for_all(), *(jobs.signal(job_id, "go", str(number)) for number in range(20))
        )

        steps = (await jobs.get(job_id)).steps
        assert sorted(f'{{"data":{number}}}' for number in range(20)) == sorted(
            step.result_json for step in steps
        )


class TestRefused:
    async def test_too_many(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """When 100 wait, the next has to wait outside, until a step has taken one."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        for number in range(100):
            await jobs.signal(job_id, "go", str(number))

        with pytest.raises(QuotaError) as caught:
            await jobs.signal(job_id, "go", "100")
        token = (await worker.take_one()).token
        await worker.wait_for(token, "one", signal=pb.SignalWait(name="go"))
        await jobs.signal(job_id, "go", "100")

        assert "TOO_MANY_SIGNALS" == caught.value.reason

    async def test_over(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that is over hears nothing."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.complete((await worker.take_one()).token)

        with pytest.raises(PreconditionError) as caught:
            await jobs.signal(job_id, "go")

        assert "JOB_OVER" == caught.value.reason

    async def test_foreign(
        self, service: Service, jobs: Producer, workers: Workers, produce: Produce
    ) -> None:
        """Another tenant's job does not exist, like one that does not."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()
        stranger = await produce(service, "globex")

        for who, which in ((stranger, job_id), (jobs, NOBODYS)):
            with pytest.raises(NotFoundError) as caught:
                await who.signal(which, "go")
            assert "JOB_NOT_FOUND" == caught.value.reason

    async def test_bad_input(self, jobs: Producer) -> None:
        """Names and data that cannot be are refused by their fields."""
        wrong = {
            ("", "1"): "name",
            ("x" * 201, "1"): "name",
            ("a\0b", "1"): "name",
            ("go", "{"): "data_json",
            ("go", f'"{"x" * 65_536}"'): "data_json",
        }

        for (name, data), field in wrong.items():
            with pytest.raises(ValidationError) as caught:
                await jobs.signal(NOBODYS, name, data)
            assert [field] == list(caught.value.fields)
