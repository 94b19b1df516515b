"""Queues that are full: refused, made room in, or put off."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from mainstay.errors import MainstayError, QueueFullError
from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.event import NewCall, NewEvent, Origin
from services.jobs.job import EventId, JobId
from services.jobs.postgres_events import PostgresEvents
from shared.postgres.pool import Postgres
from shared.rpc.call import Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import VIDEO, Producer, video_event
from tests.integration.jobs.raw_worker import Workers, function, seconds

REJECT = function_pb2.OVERFLOW_POLICY_REJECT
SHED = function_pb2.OVERFLOW_POLICY_SHED_OLDEST
SPILL = function_pb2.OVERFLOW_POLICY_SPILL
ACME = Tenant("acme")
ORIGIN = Origin(tenant=ACME, request_id="req-1", traceparent="")


def bounded(
    policy: function_pb2.OverflowPolicy.ValueType, **bounds: Any
) -> function_pb2.FunctionDefinition:
    """Declare a function whose queue has bounds."""
    declared = function()
    declared.overflow.CopyFrom(function_pb2.Overflow(policy=policy, **bounds))
    return declared


def video(title: str = "t") -> pb.Event:
    """Return an event."""
    return video_event(data=json.dumps(VIDEO | {"title": title}))


def new_event() -> NewEvent:
    """Return an event that was checked."""
    return NewEvent(
        event_id=EventId(uuid4()),
        name="video/upload.completed",
        data="{}",
        size=2,
        value={},
        idempotency_key="",
        content_hash=b"",
    )


async def depth(database: asyncpg.Connection) -> int:
    """Return how many jobs are ready."""
    return int(await database.fetchval("SELECT count(*) FROM jobs.ready"))


class TestReject:
    async def test_depth(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A call for which there is no room is refused as a whole, with a time to try again."""
        await workers.connect(service.address, bounded(REJECT, max_depth=2))
        await jobs.send(video())

        with pytest.raises(QueueFullError) as caught:
            await jobs.send(video_event(key="k"), video())

        assert ("QUEUE_FULL", 1.0) == (caught.value.reason, caught.value.retry_after)
        assert {"function": "process-video"}.items() <= caught.value.metadata.items()
        assert 1 == await depth(database)
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.event_keys")
        (fits,) = await jobs.send(video_event(key="k"))
        assert not fits.duplicate

    async def test_bytes(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Payloads of ready jobs may take only so many bytes."""
        size = len(video("t" * 100).json)
        await workers.connect(service.address, bounded(REJECT, max_bytes=2 * size))
        await jobs.send(video("t" * 100), video("t" * 100))

        with pytest.raises(QueueFullError):
            await jobs.send(video(""))

    async def test_age(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """While the oldest has waited for too long nothing more is taken."""
        await workers.connect(service.address, bounded(REJECT, max_age=seconds(60)))
        await jobs.send(video(), video())
        await database.execute("UPDATE jobs.ready SET ready_time = now() - interval '61 s'")

        with pytest.raises(QueueFullError):
            await jobs.send(video())

    async def test_room_again(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A job that is taken makes room."""
        worker = await workers.connect(service.address, bounded(REJECT, max_depth=1))
        await jobs.send(video())
        await worker.take_one()

        assert await jobs.start_job(video())

    async def test_delayed(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """What waits for its time takes no room."""
        await workers.connect(service.address, bounded(REJECT, max_depth=1))
        later = video_event(delay=seconds(60))

        accepted = await jobs.send(later, later, video(), later)

        assert 4 == len(accepted)

    async def test_tenants(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """Each tenant has a queue of its own, also of a function for all."""
        await workers.connect(service.address, bounded(REJECT, max_depth=1), tenant="*")
        globex = await produce(service, "globex")
        await jobs.send(video())

        assert await globex.start_job(video())
        with pytest.raises(QueueFullError):
            await jobs.send(video())

    async def test_never_exceeded(
        self, service: Service, workers: Workers, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """However many transactions add at once, no more is taken than there is room for."""
        await workers.connect(service.address, bounded(REJECT, max_depth=10))
        async with AsyncExitStack() as replicas:
            stores = []
            for _ in range(4):
                postgres = Postgres(postgres_url)
                await postgres.start()
                replicas.push_async_callback(postgres.close)
                stores.append(PostgresEvents(postgres, lambda: JobId(uuid4())))
            calls = [NewCall(origin=ORIGIN, events=(new_event(), new_event())) for _ in range(40)]

            told = await asyncio.gather(
                *[stores[number % 4].accept(ACME, [call]) for number, call in enumerate(calls)]
            )

        outcomes = [stored.outcomes[0] for stored in told]
        taken = [outcome for outcome in outcomes if not isinstance(outcome, MainstayError)]
        assert 10 == sum(map(len, taken)) == await depth(database)
        assert 35 == sum(isinstance(outcome, QueueFullError) for outcome in outcomes)


class TestShedOldest:
    async def test_depth(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Those that have waited longest give way and are dead letters, which nobody loses."""
        await workers.connect(service.address, bounded(SHED, max_depth=2))
        old = [await jobs.start_job(video(f"{number}")) for number in range(2)]

        new = await jobs.start_job(video("new"))

        shed, kept = await jobs.get(old[0]), await jobs.get(old[1])
        assert (job_pb2.JOB_STATE_DEAD_LETTERED, "Shed") == (shed.state, shed.failure.kind)
        assert job_pb2.JOB_STATE_QUEUED == kept.state == (await jobs.get(new)).state
        assert 2 == await depth(database)
        letter = await database.fetchrow("SELECT * FROM jobs.dead_letters")
        assert (old[0], "Shed") == (str(letter["job_id"]), letter["failure_kind"])

    async def test_more_than_fit(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Of a call that brings more than there is room for, the last ones stay."""
        await workers.connect(service.address, bounded(SHED, max_depth=3))

        accepted = await jobs.send(*[video(f"{number}") for number in range(5)])

        states = [(await jobs.get(event.job_ids[0])).state for event in accepted]
        shed, kept = job_pb2.JOB_STATE_DEAD_LETTERED, job_pb2.JOB_STATE_QUEUED
        assert [shed, shed, kept, kept, kept] == states

    async def test_bytes(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """As many give way as make room for the bytes."""
        size = len(video("t" * 100).json)
        await workers.connect(service.address, bounded(SHED, max_bytes=3 * size))
        old = [await jobs.start_job(video("t" * 100)) for _ in range(3)]

        await jobs.send(video("t" * 101))

        states = [(await jobs.get(job_id)).state for job_id in old]
        assert [job_pb2.JOB_STATE_DEAD_LETTERED] * 2 == states[:2]
        assert job_pb2.JOB_STATE_QUEUED == states[2]

    async def test_age(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """All that have waited for too long give way."""
        await workers.connect(service.address, bounded(SHED, max_age=seconds(60)))
        old = [await jobs.start_job(video()) for _ in range(2)]
        await database.execute("UPDATE jobs.ready SET ready_time = now() - interval '61 s'")

        new = await jobs.start_job(video())

        states = [(await jobs.get(job_id)).state for job_id in (*old, new)]
        shed, kept = job_pb2.JOB_STATE_DEAD_LETTERED, job_pb2.JOB_STATE_QUEUED
        assert [shed, shed, kept] == states

    async def test_begun_ones_stay(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A job that has been tried before does not give way, however long it waits."""
        worker = await workers.connect(service.address, bounded(SHED, max_depth=2))
        begun = await jobs.start_job(video("begun"))
        await worker.fail((await worker.take_one()).token)
        await jobs.reaches(begun, job_pb2.JOB_STATE_RETRYING)
        second = await jobs.start_job(video("second"))

        third = await jobs.start_job(video("third"))

        states = [(await jobs.get(job_id)).state for job_id in (begun, second, third)]
        assert [
            job_pb2.JOB_STATE_RETRYING,
            job_pb2.JOB_STATE_DEAD_LETTERED,
            job_pb2.JOB_STATE_QUEUED,
        ] == states

    async def test_a_watcher_sees_it(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Whoever watches a job hears at once that it had to give way."""
        await workers.connect(service.address, bounded(SHED, max_depth=1))
        watch = jobs.watch(await jobs.start_job(video()))
        await watch.next()

        await jobs.send(video())

        assert "Shed" == (await watch.next()).failure.kind

    async def test_found_by_its_request(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """That a job gave way is logged under the request that it came with, and counted."""
        name = "process-video"
        await workers.connect(service.address, bounded(SHED, max_depth=1))
        before = REGISTRY.get_sample_value("mainstay_jobs_shed_total", {"function": name}) or 0.0
        job_id = await jobs.start_job(video(), request_id="req-7")
        with capture_logs() as lines:
            await jobs.send(video(), request_id="req-8")

        told = [(line["event"], line.get("job_id")) for line in lines if "req-7" in str(line)]
        assert [("job_shed", job_id)] == told
        assert before + 1 == REGISTRY.get_sample_value(
            "mainstay_jobs_shed_total", {"function": name}
        )


class TestSpill:
    async def test_put_off(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """What has no room is taken and put off."""
        await workers.connect(service.address, bounded(SPILL, max_depth=1, spill_delay=seconds(90)))

        accepted = await jobs.send(video(), video())

        first, second = [await jobs.get(event.job_ids[0]) for event in accepted]
        assert 0 == pytest.approx(first.ready_time.seconds - first.create_time.seconds, abs=1)
        assert 90 == pytest.approx(second.ready_time.seconds - second.create_time.seconds, abs=1)
        assert 1 == await depth(database)

    async def test_comes_back(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """It starts once its time has come."""
        worker = await workers.connect(
            service.address, bounded(SPILL, max_depth=1, spill_delay=seconds(1))
        )
        accepted = await jobs.send(video(), video())

        taken = [(await worker.take_one()).job_id for _ in accepted]

        assert [event.job_ids[0] for event in accepted] == taken
