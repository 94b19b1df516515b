"""How deep the queues of all tenants are, as monitoring asks for it."""

import asyncio

import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import AuthorizationError, UnavailableError
from mainstay.jobs.v1 import job_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs, jobs_service
from tests.integration.jobs.producer import Producer, producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds


async def measured(watcher: Producer) -> pb.GetDepthResponse:
    """Return the depth as soon as the replica has measured it."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer: pb.GetDepthResponse = await watcher.call("GetDepth", pb.GetDepthRequest())
            except UnavailableError:
                continue
            return answer


class TestDepth:
    async def test_all_tenants_together(
        self, service: Service, produce: Produce, workers: Workers, serve_jobs: ServeJobs
    ) -> None:
        """A replica that has just started knows what the others accepted, and their workers."""
        acme, other = await produce(service), await produce(service, "other")
        worker = await workers.connect(service.address, function(max_attempts=1))
        await workers.connect(service.address, function(), tenant="other")
        for _ in range(3):
            await acme.start_job()
        await acme.start_job(video_event(delay=seconds(3600)))
        await other.start_job()
        running, failed = await worker.take(2)
        await worker.fail(failed.token, kind="Broken", message="no")

        found = await measured(await produce(await serve_jobs(), "*"))

        assert await worker.beat(running.token) == []
        assert (2, 1, 1, 1, 2) == (
            found.ready,
            found.delayed,
            found.running,
            found.dead_letters,
            found.workers,
        )
        assert 0 < found.oldest_age.ToTimedelta().total_seconds() < 30
        assert 0 <= found.age.ToTimedelta().total_seconds() < 20
        assert found.HasField("measure_time")

    async def test_for_those_who_watch_over_all(self, jobs: Producer) -> None:
        """A tenant is told nothing about the others."""
        with pytest.raises(AuthorizationError) as caught:
            await jobs.call("GetDepth", pb.GetDepthRequest())

        assert "ALL_TENANTS_REQUIRED" == caught.value.reason

    async def test_without_the_database(self, private_postgres: PostgresServer) -> None:
        """The last figures are answered, older with every call."""
        service = jobs_service(private_postgres.url)
        async with service.running(), producer(service.address, "*") as watcher:
            first = await measured(watcher)
            await private_postgres.stop()
            second = await watcher.call("GetDepth", pb.GetDepthRequest())

        assert first.measure_time == second.measure_time
        assert first.age.ToTimedelta() < second.age.ToTimedelta()
