"""Calls of many callers at the same moment, stored together."""

import asyncio
from typing import Any

import asyncpg
import grpc

from mainstay.errors import AlreadyExistsError, MainstayError, NotFoundError
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from services.jobs import metrics
from shared.service import Service
from tests.integration.jobs.producer import Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function

CALLERS = 64
TENANT = (("x-mainstay-tenant", "acme"),)


def transactions() -> float:
    """Return how many transactions have stored calls."""
    return sum(
        sample.value
        for metric in metrics.batch_calls.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    )


class TestTogether:
    async def test_each_its_own(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Every caller gets the ids of its own events; fewer transactions than calls do it."""
        await workers.connect(service.address)
        before = transactions()

        async def send(number: int) -> tuple[str, str]:
            (accepted,) = await jobs.send(video_event(key=f"k{number}"), request_id=f"req-{number}")
            return accepted.job_ids[0], f"req-{number}"

        told = await asyncio.gather(*[send(number) for number in range(CALLERS)])

        rows = await database.fetch("SELECT job_id, request_id FROM jobs.jobs")
        assert set(told) == {(str(row["job_id"]), row["request_id"]) for row in rows}
        assert CALLERS == len(rows)
        assert transactions() - before < CALLERS / 2

    async def test_wrong_ones(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Those that are refused fail, each with its own error; the others do not notice."""
        await workers.connect(service.address, function())
        await jobs.send(video_event(key="taken"))
        other = video_event(key="taken", data=video_event().json.replace("v-1", "v-2"))

        async def told(number: int) -> Any:
            try:
                if number % 4 == 1:
                    return await jobs.send(other)
                if number % 4 == 3:
                    return await jobs.enqueue(pb.EnqueueRequest(function="nobody", json="{}"))
                return await jobs.send(video_event())
            except MainstayError as error:
                return type(error)

        answers = await asyncio.gather(*[told(number) for number in range(CALLERS)])

        assert [AlreadyExistsError] * (CALLERS // 4) == answers[1::4]
        assert [NotFoundError] * (CALLERS // 4) == answers[3::4]
        assert CALLERS // 2 == len({answer[0].event_id for answer in answers[::2]})

    async def test_one_leaves(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Callers that leave take no others along."""
        await workers.connect(service.address)
        leaving = [asyncio.create_task(jobs.send(video_event())) for _ in range(CALLERS // 2)]
        staying = [asyncio.create_task(jobs.send(video_event())) for _ in range(CALLERS // 2)]
        await asyncio.wait(staying[:1])
        for task in leaving:
            task.cancel()

        told = await asyncio.gather(*staying)
        gone = await asyncio.gather(*leaving, return_exceptions=True)

        assert CALLERS // 2 == len({accepted.event_id for (accepted,) in told})
        assert {asyncio.CancelledError, list} >= {type(each) for each in gone}


async def hurried(address: str) -> grpc.StatusCode:
    """Send an event that has a third of a second, and return how that ends."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = pb_grpc.JobServiceStub(channel)
        request = pb.SendEventsRequest(events=[video_event()])
        try:
            await stub.SendEvents(request, metadata=TENANT, timeout=0.3)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


class TestDeadline:
    async def test_kept(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A call whose events cannot be stored in time ends with its deadline."""
        await workers.connect(service.address)
        blocked = database.transaction()
        await blocked.start()
        await database.execute("LOCK TABLE jobs.jobs IN EXCLUSIVE MODE")

        codes = await asyncio.gather(*[hurried(service.address) for _ in range(3)])
        await blocked.rollback()

        assert [grpc.StatusCode.DEADLINE_EXCEEDED] * 3 == codes
        assert (await jobs.send(video_event()))[0].event_id
