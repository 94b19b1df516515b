"""Jobs that start jobs and wait for their ends."""

import asyncio
import json

import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, raw_workers

WAITING, SUCCEEDED = job_pb2.JOB_STATE_WAITING, job_pb2.JOB_STATE_SUCCEEDED
STORED, DUPLICATE, REJECTED = pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE, pb.ACK_STATE_REJECTED

PARENT, CHILD = function("process-video"), function("make-thumbnails", trigger="")


def invoke(name: str = "make-thumbnails", data: str = '{"at": 1}', **fields: int) -> pb.InvokeWait:
    """Return a wait for a job's end."""
    return pb.InvokeWait(function=name, data_json=data, **fields)


async def begin(
    service: Service, jobs: Producer, workers: Workers
) -> tuple[RawWorker, pb.AssignedJob, pb.AssignedJob]:
    """Let a job invoke another and wait for it; returns both as a worker has them."""
    worker = await workers.connect(service.address, PARENT, CHILD)
    await jobs.start_job(request_id="req-parent")
    parent = await worker.take_one()
    await worker.wait_for(parent.token, "thumbs", invoke=invoke())
    await worker.suspend(parent.token, "thumbs")
    return worker, parent, await worker.take_one()


def result_of(resumed: pb.AssignedJob) -> object:
    """Return what a resumed job knows of its child."""
    (memo,) = resumed.memo
    assert ("thumbs", job_pb2.STEP_KIND_INVOKE) == (memo.key, memo.kind)
    return json.loads(memo.result_json)


class TestChild:
    async def test_what_it_is(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A child is a job of its own, under the request of its parent, which names it."""
        _, parent, child = await begin(service, jobs, workers)

        stored = await jobs.get(parent.job_id)

        assert ("make-thumbnails", '{"at": 1}', "req-parent", "acme") == (
            child.function,
            child.data_json,
            child.request_id,
            child.tenant,
        )
        assert parent.job_id == (await jobs.get(child.job_id)).parent_job_id
        assert (WAITING, [("thumbs", job_pb2.STEP_KIND_INVOKE, child.job_id)]) == (
            stored.state,
            [(wait.key, wait.kind, wait.subject) for wait in stored.waits],
        )

    async def test_priority(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A child has the priority that its parent asks for, or that of its function."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        await jobs.start_job()
        parent = await worker.take_one()
        await worker.wait_for(parent.token, "a", invoke=invoke(priority=7))
        await worker.wait_for(parent.token, "b", invoke=invoke())

        children = await worker.take(2)

        assert [7, 0] == [(await jobs.get(child.job_id)).priority for child in children]

    async def test_once(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """However often its step begins, there is one child: also after a retry of the parent."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "thumbs", invoke=invoke())
        again = await worker.wait_for(first.token, "thumbs", invoke=invoke())
        child = await worker.take_one()
        await worker.fail(first.token)
        second = await worker.take_one()

        once_more = await worker.wait_for(second.token, "thumbs", invoke=invoke())

        assert [DUPLICATE, DUPLICATE] == [again.state, once_more.state]
        assert ("make-thumbnails", "process-video") == (child.function, second.function)
        (wait,) = (await jobs.get(second.job_id)).waits
        assert child.job_id == wait.subject


class TestItsEnd:
    async def test_success(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A parent goes on with its child's result, as the child's worker wrote it."""
        worker, parent, child = await begin(service, jobs, workers)
        await worker.complete(child.token, '{"files": [1.50]}')

        resumed = await worker.take_one()
        await worker.complete(resumed.token)

        assert (parent.job_id, 1) == (resumed.job_id, resumed.attempt)
        assert '"result":{"files": [1.50]}' in resumed.memo[0].result_json
        assert {
            "job_id": child.job_id,
            "state": "succeeded",
            "result": {"files": [1.5]},
            "failure": None,
        } == result_of(resumed)
        assert SUCCEEDED == (await jobs.get(parent.job_id)).state

    async def test_dead_letter(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A parent hears that its child has failed for good, and why."""
        worker, _, child = await begin(service, jobs, workers)
        await worker.fail(child.token, permanent=True)

        resumed = await worker.take_one()

        assert {
            "job_id": child.job_id,
            "state": "dead_lettered",
            "result": None,
            "failure": {"kind": "ValueError", "message": "no good"},
        } == result_of(resumed)

    async def test_cancelled(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A parent hears that somebody has cancelled its child."""
        worker, _, child = await begin(service, jobs, workers)
        await jobs.cancel(child.job_id, reason="not wanted")
        await worker.report(child.token, stopped=pb.Stopped())

        resumed = await worker.take_one()

        assert {
            "job_id": child.job_id,
            "state": "cancelled",
            "result": None,
            "failure": None,
        } == result_of(resumed)

    async def test_lost_workers(self, serve_jobs: ServeJobs, produce: Produce) -> None:
        """A parent hears of a child that has cost too many workers."""
        service = await serve_jobs(jobs_resume_window=0.2, jobs_max_crashes=1)
        jobs = await produce(service)
        async with raw_workers() as workers:
            alive = await workers.connect(service.address, PARENT)
            victim = await workers.connect(service.address, CHILD)
            await jobs.start_job()
            parent = await alive.take_one()
            await alive.wait_for(parent.token, "thumbs", invoke=invoke())
            await alive.suspend(parent.token, "thumbs")
            await victim.take_one()
            await victim.cut()

            resumed = await alive.take_one()

            assert '"kind":"WorkerLost"' in resumed.memo[0].result_json

    async def test_parent_still_runs(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A child may be done before its parent waits for it."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        await jobs.start_job()
        parent = await worker.take_one()
        await worker.wait_for(parent.token, "thumbs", invoke=invoke())
        child = await worker.take_one()
        await worker.complete(child.token, "1")
        await worker.suspend(parent.token, "thumbs")

        resumed = await worker.take_one()

        assert ["thumbs"] == [memo.key for memo in resumed.memo]

    async def test_parent_is_over(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A child whose parent does not wait for it goes on and ends by itself."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        await jobs.start_job()
        parent = await worker.take_one()
        await worker.wait_for(parent.token, "thumbs", invoke=invoke())
        child = await worker.take_one()
        await worker.complete(parent.token)

        ack = await worker.complete(child.token, "1")

        assert STORED == ack.state
        assert SUCCEEDED == (await jobs.get(child.job_id)).state

    async def test_both_in_one_batch(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """The end of a child and the suspension of its parent may come together, either first."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        for suspended_first in (True, False):
            await jobs.start_job()
            parent = await worker.take_one()
            await worker.wait_for(parent.token, "thumbs", invoke=invoke())
            child = await worker.take_one()
            reports = [
                worker.make_report(parent.token, suspended=pb.Suspended(keys=["thumbs"])),
                worker.make_report(child.token, completed=pb.Completed(result_json="1")),
            ]
            await worker.report_all(*(reports if suspended_first else reversed(reports)))

            resumed = await worker.take_one()
            await worker.complete(resumed.token)

            assert parent.job_id == resumed.job_id


class TestMany:
    async def test_nobody_is_left_waiting(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Whichever comes first, ends of children and suspensions of parents, all parents go on."""
        several = [await workers.connect(service.address, PARENT, CHILD) for _ in range(4)]
        job_ids = [await jobs.start_job() for _ in range(24)]
        working = [asyncio.create_task(work_on(worker)) for worker in several]

        ended = await asyncio.gather(*(jobs.reaches(job_id, SUCCEEDED) for job_id in job_ids))

        for task in working:
            task.cancel()
        await asyncio.wait(working)
        keys = {"0", "1", "2"}
        assert [keys] * 24 == [{step.key for step in job.steps} for job in ended]


async def work_on(worker: RawWorker) -> None:
    """Do whatever comes: parents invoke three children each and wait for them one by one."""
    while True:
        job = await worker.take_one()
        waited = {memo.key for memo in job.memo}
        if job.function == "make-thumbnails" or len(waited) == 3:
            await worker.complete(job.token)
            continue
        for key in "012":
            await worker.wait_for(job.token, key, invoke=invoke())
        await worker.suspend(job.token, *({"0", "1", "2"} - waited))


class TestRefused:
    @pytest.mark.parametrize(
        ("wait", "message"),
        [
            (invoke("process-video"), "cyclic: process-video → process-video"),
            (invoke("nobody"), "no worker has declared 'nobody'"),
            (invoke(data="[]"), "must be a JSON object"),
            (invoke(priority=101), "must be -100 to 100"),
        ],
    )
    async def test_bad_input(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        wait: pb.InvokeWait,
        message: str,
    ) -> None:
        """What cannot be invoked is refused by name, and nothing is started."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        await jobs.start_job()
        parent = await worker.take_one()

        ack = await worker.wait_for(parent.token, "k", invoke=wait)

        assert (REJECTED, True) == (ack.state, message in ack.message)
        assert list((await jobs.get(parent.job_id)).waits) == []

    async def test_cycle(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A child cannot invoke what led to it."""
        worker, _, child = await begin(service, jobs, workers)

        ack = await worker.wait_for(child.token, "back", invoke=invoke("process-video"))

        assert REJECTED == ack.state
        assert "cyclic: process-video → make-thumbnails → process-video" in ack.message

    async def test_other_tenant(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Functions of another tenant are not there to invoke."""
        await workers.connect(service.address, function("theirs", trigger=""), tenant="globex")
        worker = await workers.connect(service.address)
        await jobs.start_job()
        parent = await worker.take_one()

        ack = await worker.wait_for(parent.token, "k", invoke=invoke("theirs"))

        assert REJECTED == ack.state
