"""Watching a job."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import grpc
import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, jobs_service
from tests.integration.jobs.producer import Producer, producer, video_event
from tests.integration.jobs.raw_worker import Workers, raw_workers

NOBODYS = "018f0000-0000-7000-8000-000000000000"


class TestStates:
    async def test_every_state(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A watcher sees a job wait, run, progress, finish a step, retry and end."""
        worker = await workers.connect(service.address)
        watch = jobs.watch(await jobs.start_job())
        seen = [await watch.next()]
        first = await worker.take_one()
        seen.append(await watch.next())
        await worker.report(first.token, progress=pb.ProgressReported(fraction=0.5, message="m"))
        seen.append(await watch.next())
        await worker.step(first.token, "probe")
        seen.append(await watch.next())
        await worker.fail(first.token)
        seen.append(await watch.next())
        second = await worker.take_one()
        seen.append(await watch.next())
        await worker.complete(second.token)
        seen += await watch.rest()

        assert [
            (job_pb2.JOB_STATE_QUEUED, 1, 0.0, 0),
            (job_pb2.JOB_STATE_RUNNING, 2, 0.0, 0),
            (job_pb2.JOB_STATE_RUNNING, 3, 0.5, 0),
            (job_pb2.JOB_STATE_RUNNING, 4, 0.5, 1),
            (job_pb2.JOB_STATE_RETRYING, 5, 0.5, 1),
            (job_pb2.JOB_STATE_RUNNING, 6, 0.5, 1),
            (job_pb2.JOB_STATE_SUCCEEDED, 7, 0.5, 1),
        ] == [(job.state, job.revision, job.progress.fraction, len(job.steps)) for job in seen]

    async def test_job_that_is_over(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that is over is told once, and not again to whoever has seen it."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        await worker.complete((await worker.take_one()).token)

        told = await jobs.watch(job_id).rest()
        again = await jobs.watch(job_id, after=told[-1].revision).rest()

        assert [job_pb2.JOB_STATE_SUCCEEDED] == [job.state for job in told]
        assert again == []

    async def test_resume(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A watch that resumes begins with what is newer."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job()
        watch = jobs.watch(job_id, after=1)
        await worker.take_one()

        assert 2 == (await watch.next()).revision

    async def test_fold(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """However fast a job changes, a watcher sees it grow and sees its end."""
        worker = await workers.connect(service.address)
        watch = jobs.watch(await jobs.start_job())
        token = (await worker.take_one()).token
        await worker.report_all(
            *[
                worker.make_report(
                    token, progress=pb.ProgressReported(fraction=n / 400, message="")
                )
                for n in range(400)
            ],
            worker.make_report(token, completed=pb.Completed(result_json="1")),
        )

        seen = await watch.rest()

        revisions = [job.revision for job in seen]
        assert sorted(set(revisions)) == revisions
        assert job_pb2.JOB_STATE_SUCCEEDED == seen[-1].state


class TestWatcherThatDoesNotRead:
    async def test_folds_what_it_misses(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A watcher that comes back after many large changes gets few states, the last of all."""
        worker = await workers.connect(service.address)
        watch = jobs.watch(await jobs.start_job())
        token = (await worker.take_one()).token
        await worker.step(token, "large", '"' + "x" * 1_000_000 + '"')
        for number in range(100):
            await worker.report(
                token, progress=pb.ProgressReported(fraction=number / 100, message="")
            )
        await worker.complete(token)

        seen = await watch.rest()

        assert job_pb2.JOB_STATE_SUCCEEDED == seen[-1].state
        # A hundred states of a megabyte have not waited for it anywhere.
        assert len(seen) < 50


class TestSeveralJobs:
    async def test_every_job(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """One stream tells of all of them, and ends when all are over."""
        worker = await workers.connect(service.address)
        ids = [await jobs.start_job() for _ in range(3)]
        watch = jobs.watch_many(dict.fromkeys(ids, 0))
        first = [await watch.next() for _ in ids]
        for _ in ids:
            await worker.complete((await worker.take_one()).token)

        last = {job.job_id: job for job in await watch.rest()}

        assert sorted(ids) == sorted(job.job_id for job in first)
        assert {job_pb2.JOB_STATE_QUEUED} == {job.state for job in first}
        assert dict.fromkeys(ids, job_pb2.JOB_STATE_SUCCEEDED) == {
            job_id: job.state for job_id, job in last.items()
        }

    async def test_resume(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What was seen of each is not told again; what is over by then is not waited for."""
        worker = await workers.connect(service.address)
        over, done, waiting = [await jobs.start_job() for _ in range(3)]
        for _ in range(2):
            await worker.complete((await worker.take_one()).token)
        seen = {over: (await jobs.get(over)).revision, done: 1, waiting: 1}
        watch = jobs.watch_many(seen)
        first = await watch.next()
        await worker.complete((await worker.take_one()).token)

        rest = await watch.rest()

        assert (done, job_pb2.JOB_STATE_SUCCEEDED) == (first.job_id, first.state)
        assert {waiting} == {job.job_id for job in rest}

    async def test_as_many_as_allowed(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A thousand jobs are told on one stream."""
        await workers.connect(service.address)
        ids = []
        for _ in range(10):
            events = await jobs.send(*[video_event() for _ in range(100)])
            ids += [job_id for event in events for job_id in event.job_ids]
        watch = jobs.watch_many(dict.fromkeys(ids, 0))

        told = [await watch.next() for _ in ids]

        assert sorted(ids) == sorted(job.job_id for job in told)

    async def test_large_ones(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Jobs that do not fit into one read together are all told."""
        worker = await workers.connect(service.address)
        ids = [await jobs.start_job() for _ in range(6)]
        for _ in ids:
            token = (await worker.take_one()).token
            await worker.step(token, "large", '"' + "x" * 1_000_000 + '"')
            await worker.complete(token)

        told = await jobs.watch_many(dict.fromkeys(ids, 0)).rest()

        assert sorted(ids) == sorted(job.job_id for job in told)
        assert {1_000_002} == {len(job.steps[0].result_json) for job in told}

    async def test_one_of_another_tenant(
        self, service: Service, jobs: Producer, workers: Workers, produce: Produce
    ) -> None:
        """One that does not exist, or is another tenant's, fails the call and is named."""
        await workers.connect(service.address)
        await workers.connect(service.address, tenant="globex")
        mine = await jobs.start_job()
        theirs = await (await produce(service, "globex")).start_job()

        for which in (theirs, NOBODYS):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await jobs.watch_many({mine: 1, which: 0}).rest()
            assert grpc.StatusCode.NOT_FOUND == caught.value.code()
            assert which in (caught.value.details() or "")

    async def test_none_or_too_many(self, jobs: Producer) -> None:
        """None, more than a thousand and one twice are refused."""
        many = {str(UUID(int=number)): 0 for number in range(1001)}
        for seen in ({}, many):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await jobs.watch_many(seen).rest()
            assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


class TestRefused:
    async def test_unknown_job(self, jobs: Producer) -> None:
        """A job that does not exist is named."""
        with pytest.raises(NotFoundError) as caught:
            await jobs.get(NOBODYS)

        assert ("JOB_NOT_FOUND", NOBODYS) == (caught.value.reason, caught.value.resource_name)

    async def test_unknown_job_watched(self, jobs: Producer) -> None:
        """So it is when it is to be watched."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await jobs.watch(NOBODYS).rest()

        assert grpc.StatusCode.NOT_FOUND == caught.value.code()

    async def test_no_id(self, jobs: Producer) -> None:
        """What is no id is refused by its field."""
        with pytest.raises(ValidationError) as caught:
            await jobs.get("1")

        assert ["job_id"] == list(caught.value.fields)


class TestShutdown:
    async def test_watchers_leave(self, postgres_url: str) -> None:
        """Watchers are told to go elsewhere and do not hold up the end of the service."""
        async with raw_workers() as workers, AsyncExitStack() as stack:
            service = await stack.enter_async_context(jobs_service(postgres_url).running())
            await workers.connect(service.address)
            async with producer(service.address, "acme") as jobs:
                watch = jobs.watch(await jobs.start_job())
                await watch.next()
                stopping = asyncio.create_task(stack.aclose())
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await watch.rest()
                await stopping

        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
        assert "after_revision" in (caught.value.details() or "")
