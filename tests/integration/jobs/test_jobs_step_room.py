"""What a job's steps take together, with the results of waits; and that nothing of them is left."""

import json

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function, seconds
from tests.integration.jobs.test_jobs_cancel import TRACES

STORED, REJECTED = pb.ACK_STATE_STORED, pb.ACK_STATE_REJECTED
PARENT, CHILD = function(), function("make-thumbnails", trigger="")
HOUR = pb.SleepWait(duration=seconds(3600))
LARGE = json.dumps("x" * 900_000)
"""Of which two fit into a job's 2.5 MiB, and a third does not."""


async def invoke(worker: RawWorker, token: bytes, *keys: str) -> list[pb.AssignedJob]:
    """Let a job start others, and return them as the worker has them."""
    wait = pb.InvokeWait(function="make-thumbnails", data_json="{}")
    for key in keys:
        assert STORED == (await worker.wait_for(token, key, invoke=wait)).state
    return await worker.take(len(keys))


async def end(worker: RawWorker, children: list[pb.AssignedJob]) -> None:
    """End jobs with large results, one after the other."""
    for child in children:
        await worker.complete(child.token, LARGE)


class TestResultsOfWaits:
    async def test_parked(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A result for which a job has no room left is kept without what makes it large."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        job_id = await jobs.start_job()
        parent = await worker.take_one()
        children = await invoke(worker, parent.token, "a", "b", "c")
        await worker.suspend(parent.token, "a", "b", "c")
        await end(worker, children)

        resumed = await worker.take_one()

        results = {memo.key: json.loads(memo.result_json) for memo in resumed.memo}
        kept = sorted(key for key, result in results.items() if "too_large" not in result)
        (cut,) = results.keys() - kept
        ids = {child.job_id for child in children} - {results[key]["job_id"] for key in kept}
        assert (job_id, 2) == (resumed.job_id, len(kept))
        assert {"job_id": ids.pop(), "state": "succeeded", "too_large": True} == results[cut]

    async def test_running(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What comes while the function runs counts in its turn, for further steps too."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        job_id = await jobs.start_job()
        parent = await worker.take_one()
        await worker.step(parent.token, "own", LARGE)
        children = await invoke(worker, parent.token, "a", "b")
        await end(worker, children)

        small = await worker.step(parent.token, "small")
        large = await worker.step(parent.token, "large", LARGE)

        assert (STORED, REJECTED) == (small.state, large.state)
        assert "more than 2,621,440 bytes together" in large.message
        steps = (await jobs.get(job_id)).steps
        assert 1 == sum('"too_large":true' in step.result_json for step in steps)

    async def test_small_ones_always_fit(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A wait has counted since it began: however full, there is room for a small result."""
        worker = await workers.connect(service.address, PARENT, CHILD)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.wait_for(assigned.token, "go", signal=pb.SignalWait(name="go"))
        for key in ("a", "b"):
            await worker.step(assigned.token, key, LARGE)
        rest = json.dumps("x" * (2_621_440 - 1_801_000))
        assert STORED == (await worker.step(assigned.token, "c", rest)).state
        await jobs.signal(job_id, "go", '"yes"')

        steps = {step.key: step.result_json for step in (await jobs.get(job_id)).steps}

        assert '{"data":"yes"}' == steps["go"]


class TestReading:
    async def test_without_the_payload(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job fits into a message whatever it holds: its payload is left out if nothing else."""
        worker = await workers.connect(service.address, CHILD)
        data = json.dumps({"text": "x" * 1_000_000})
        await jobs.enqueue(job_pb.EnqueueRequest(function="make-thumbnails", json=data))
        assigned = await worker.take_one()
        for key in ("a", "b"):
            await worker.step(assigned.token, key, LARGE)
        before = await jobs.get(assigned.job_id)
        await worker.step(assigned.token, "c", json.dumps("x" * 800_000))
        watch = jobs.watch(assigned.job_id)
        await worker.complete(assigned.token, json.dumps("x" * 1_000_000))

        over = (await watch.rest())[-1]

        assert data == assigned.data_json == before.data_json
        assert (job_pb2.JOB_STATE_SUCCEEDED, 3, "") == (over.state, len(over.steps), over.data_json)
        assert over == await jobs.get(assigned.job_id)


class TestTakenKey:
    async def test_waits(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A step cannot end under the key of one that waits, whose result would be dropped."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        assigned = await worker.take_one()
        await worker.wait_for(assigned.token, "go", signal=pb.SignalWait(name="go"))
        before = await worker.step(assigned.token, "go")
        await jobs.signal(job_id, "go", "7")
        after = await worker.step(assigned.token, "go")

        assert (REJECTED, REJECTED) == (before.state, after.state)
        assert "'go' is a step that waits" in before.message
        (step,) = (await jobs.get(job_id)).steps
        assert '{"data":7}' == step.result_json


class TestLeftBehind:
    async def test_wait(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A job that ends while a step of an earlier attempt waits leaves nothing behind."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "nap", sleep=HOUR)
        await worker.fail(first.token)

        await worker.complete((await worker.take_one()).token)

        assert 0 == await database.fetchval(TRACES)

    async def test_step(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Nor when that step's wait is over in the attempt that ends the job, which keeps it."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        await worker.wait_for(first.token, "go", signal=pb.SignalWait(name="go"))
        await worker.fail(first.token)
        second = await worker.take_one()
        await jobs.signal(job_id, "go", "1")

        await worker.complete(second.token)

        assert 0 == await database.fetchval(TRACES)
        assert ["go"] == [step.key for step in (await jobs.get(job_id)).steps]


class TestGivenBack:
    @pytest.mark.parametrize("together", [False, True])
    async def test_first_attempt(
        self, service: Service, jobs: Producer, workers: Workers, together: bool
    ) -> None:
        """Steps of a first attempt that was given back are not run again, by no version."""
        old, new = function(), function()
        old.version, new.version = "v1", "v2"
        worker = await workers.connect(service.address, old)
        job_id = await jobs.start_job()
        first = await worker.take_one()
        step = worker.make_report(
            first.token, step_completed=pb.StepCompleted(key="probe", result_json="1")
        )
        if together:
            release = worker.make_report(first.token, released=pb.Released())
            await worker.report_all(step, release)
        else:
            await worker.report_all(step)
            await worker.release(first.token)
        other = await workers.connect(service.address, new)

        second = await other.take_one()

        assert (1, "v1", [("probe", "1")]) == (
            second.attempt,
            second.version,
            [(memo.key, memo.result_json) for memo in second.memo],
        )
        assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(job_id)).state
