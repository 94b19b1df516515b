"""Events and requests that say when their jobs start, and before which others."""

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from shared.service import Service
from tests.integration.jobs.producer import Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds


class TestDelay:
    async def test_waits(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A job with a delay waits for its time, apart from those that could start."""
        await workers.connect(service.address)

        job_id = await jobs.start_job(video_event(delay=seconds(3600)))

        job = await jobs.get(job_id)
        assert job_pb2.JOB_STATE_QUEUED == job.state
        assert 3600 == pytest.approx(job.ready_time.seconds - job.create_time.seconds, abs=1)
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.ready")
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.delayed")

    async def test_starts(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Once its time has come it starts, though no poll would find it for half a minute."""
        worker = await workers.connect(service.address)
        job_id = await jobs.start_job(video_event(delay=seconds(0.2)))

        assigned = await worker.take_one()

        job = await jobs.get(job_id)
        assert job_id == assigned.job_id
        assert 0.2 <= job.start_time.ToNanoseconds() / 1e9 - job.create_time.ToNanoseconds() / 1e9


class TestPriority:
    async def test_order(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Of jobs that wait, those with more priority go first, whatever their function says."""
        urgent = function()
        urgent.priority = 5
        worker = await workers.connect(service.address, urgent)
        sent = [
            await jobs.start_job(video_event(priority=priority)) for priority in (0, -1, 100, 6)
        ]
        sent.append(await jobs.start_job(video_event()))

        taken = [(await worker.take_one()).job_id for _ in sent]

        assert [sent[number] for number in (2, 3, 4, 0, 1)] == taken

    async def test_of_the_function(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """An event that says nothing leaves it to the function."""
        urgent = function()
        urgent.priority = -7
        await workers.connect(service.address, urgent)

        unset = await jobs.get(await jobs.start_job(video_event()))
        zero = await jobs.get(await jobs.start_job(video_event(priority=0)))

        assert (-7, 0) == (unset.priority, zero.priority)
