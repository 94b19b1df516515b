"""Functions that run once for a value in the payload."""

import asyncio
import json

import asyncpg

from mainstay.jobs.v1 import function_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function


def once(
    pointer: str = "/video_id", name: str = "process-video"
) -> function_pb2.FunctionDefinition:
    """Declare a function that runs once for each value at a pointer."""
    declared = function(name)
    declared.idempotency = pointer
    return declared


def video(video_id: str, title: str = "t") -> pb.Event:
    """Return an event about a video."""
    return video_event(data=json.dumps(VIDEO | {"video_id": video_id, "title": title}))


class TestOnce:
    async def test_same_value(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A later event with the same value starts nothing and names the job of the first."""
        await workers.connect(service.address, once())
        (first,) = await jobs.send(video("v", "one"))

        (again,) = await jobs.send(video("v", "two"))

        assert list(first.job_ids) == list(again.job_ids)
        assert first.event_id != again.event_id
        assert not again.duplicate

    async def test_in_one_call(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Neither does a later event of the same call."""
        await workers.connect(service.address, once())

        accepted = await jobs.send(video("v"), video("w"), video("v"))

        ids = [event.job_ids[0] for event in accepted]
        assert ids[0] == ids[2] != ids[1]
        assert 2 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_other_functions(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """What is once for one function is not for others that the event starts."""
        await workers.connect(service.address, once(), function("notify"))
        await jobs.send(video("v"))

        (again,) = await jobs.send(video("v"))

        functions = [(await jobs.get(job_id)).function for job_id in again.job_ids]
        assert ["notify", "process-video"] == sorted(functions)
        assert 2 == len(set(again.job_ids))

    async def test_no_value(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Events without a value there each start a job."""
        await workers.connect(service.address, once("/language"))

        accepted = await jobs.send(video("v"), video("v"))

        assert 2 == len({event.job_ids[0] for event in accepted})

    async def test_thirty_days(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """After thirty days the value is free again."""
        await workers.connect(service.address, once())
        (first,) = await jobs.send(video("v"))
        await database.execute(
            "UPDATE jobs.job_keys SET create_time = now() - interval '30 days 1 second'"
        )

        (later,) = await jobs.send(video("v"))

        assert list(first.job_ids) != list(later.job_ids)

    async def test_at_two_replicas(
        self,
        serve_jobs: ServeJobs,
        service: Service,
        produce: Produce,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """Callers of two replicas at the same moment get one job for each value."""
        await workers.connect(service.address, once())
        producers = [await produce(service), await produce(await serve_jobs())]
        sending = [
            producers[number % 2].send(
                *[video(f"v{value}") for value in range(5)][:: 1 - 2 * (number % 2)]
            )
            for number in range(10)
        ]

        answers = await asyncio.gather(*sending)

        ids = {job_id for events in answers for event in events for job_id in event.job_ids}
        assert 5 == len(ids)
        assert 5 == await database.fetchval("SELECT count(*) FROM jobs.jobs")
