"""The service keeps its own tables small, by schedules, functions and a worker of its own."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.maintenance_worker import PARTITION, SWEEP, SYSTEM_TENANT
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import PATIENCE, Workers, function

OLD = timedelta(days=31)


@pytest.fixture
async def service(serve_jobs: ServeJobs) -> Service:
    return await serve_jobs(jobs_maintenance=True)


@pytest.fixture
async def system(service: Service, produce: Produce) -> Producer:
    return await produce(service, SYSTEM_TENANT)


async def functions(system: Producer) -> set[str]:
    """Return the names of the service's own functions."""
    listed = await system.call("ListFunctions", pb.ListFunctionsRequest())
    return {each.name for each in listed.functions}


async def schedules_of(system: Producer) -> list[job_pb2.Schedule]:
    """Return the service's own schedules."""
    return list((await system.call("ListSchedules", pb.ListSchedulesRequest())).schedules)


async def maintain(system: Producer, name: str) -> dict[str, Any]:
    """Have one of the service's own functions run and return its job, once that is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if name in await functions(system):
                break
            # Nobody is told of a worker's declaration.
            await asyncio.sleep(0.05)
    enqueued = await system.call("Enqueue", pb.EnqueueRequest(function=name, json="{}"))
    job = await system.watch(enqueued.job_id).until(job_pb2.JOB_STATE_SUCCEEDED)

    result: dict[str, Any] = json.loads(job.result_json)
    return result


class TestSchedules:
    async def test_seeded(self, system: Producer) -> None:
        """The maintenance is started by schedules that everybody may look at, and nobody change."""
        async with asyncio.timeout(PATIENCE):
            while True:
                schedules = await schedules_of(system)
                if len(schedules) > 1:
                    break
                await asyncio.sleep(0.05)

        assert {PARTITION, SWEEP} == {schedule.name for schedule in schedules}
        assert all(schedule.system for schedule in schedules)


class TestPartitions:
    async def test_made_and_dropped(self, system: Producer, database: asyncpg.Connection) -> None:
        """Days to come have their partition; a day older than thirty goes as a whole."""
        today = datetime.now(UTC).date()
        old = today - timedelta(days=31)
        kept = today - timedelta(days=30)
        for day in (old, kept):
            await database.execute(
                f"CREATE TABLE jobs.history_{day:%Y%m%d} PARTITION OF jobs.history "
                f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            )
        await database.execute(f"DROP TABLE jobs.history_{today + timedelta(days=3):%Y%m%d}")
        done = await maintain(system, PARTITION)
        tables = {
            row["relname"]
            for row in await database.fetch(
                "SELECT relname FROM pg_class WHERE relname LIKE 'history_2%'"
            )
        }

        assert {"partitions_made": 1, "partitions_dropped": 1} == done
        assert f"history_{old:%Y%m%d}" not in tables
        assert f"history_{kept:%Y%m%d}" in tables

    async def test_default_emptied(self, system: Producer, database: asyncpg.Connection) -> None:
        """What came before its partition moves into it when that is made."""
        day = datetime.now(UTC).date()
        await database.execute(
            f"ALTER TABLE jobs.history DETACH PARTITION jobs.history_{day:%Y%m%d}"
        )
        await database.execute(f"DROP TABLE jobs.history_{day:%Y%m%d}")
        await database.execute(
            "INSERT INTO jobs.history (job_id, tenant, function, event_id, event_name, left_state, "
            "state, revision, attempt, max_attempts, crash_count, priority, key, version, epoch, "
            "schedule, request_id, traceparent, result, create_time) VALUES "
            "($1, 'acme', 'f', $1, '', 'running', 'succeeded', 2, 1, 3, 0, 0, '', '', 1, '', '', "
            "'', '1', now())",
            uuid4(),
        )
        await maintain(system, PARTITION)

        count = await database.fetchval(f"SELECT count(*) FROM jobs.history_{day:%Y%m%d}")
        left = await database.fetchval("SELECT count(*) FROM jobs.history_default")
        assert (True, 0) == (count >= 1, left)


class TestSweep:
    async def test_keys(
        self, system: Producer, produce: Produce, service: Service, database: asyncpg.Connection
    ) -> None:
        """Keys are known for thirty days and then go."""
        for name, age in (("old", OLD), ("young", OLD - timedelta(days=2))):
            await database.execute(
                "INSERT INTO jobs.event_keys (tenant, key, event_id, content_hash, create_time) "
                "VALUES ('acme', $1, $2, '', now() - $3::interval)",
                name,
                uuid4(),
                age,
            )
        done = await maintain(system, SWEEP)
        left = await database.fetch("SELECT key FROM jobs.event_keys WHERE tenant = 'acme'")

        assert 1 == done["keys"]
        assert ["young"] == [row["key"] for row in left]

    async def test_dead_letters(
        self,
        system: Producer,
        produce: Produce,
        workers: Workers,
        service: Service,
        database: asyncpg.Connection,
    ) -> None:
        """A dead letter that nobody cared for within thirty days is put away, not lost."""
        jobs = await produce(service)
        worker = await workers.connect(service.address, function(max_attempts=1))
        job_ids = [await jobs.start_job() for _ in range(2)]
        for job in await worker.take(2):
            await worker.fail(job.token, kind="Broken", message="no")
        await database.execute(
            "UPDATE jobs.dead_letters SET end_time = now() - $2::interval WHERE job_id = $1",
            job_ids[0],
            OLD,
        )
        done = await maintain(system, SWEEP)
        states = [(await jobs.get(job_id)).state for job_id in job_ids]

        assert 1 == done["dead_letters"]
        assert [job_pb2.JOB_STATE_DISCARDED, job_pb2.JOB_STATE_DEAD_LETTERED] == states


class TestRights:
    @pytest.mark.parametrize("name", ["ensure_partitions", "cleanup_job_queue"])
    async def test_nobody_elses(self, database: asyncpg.Connection, name: str) -> None:
        """A role that may read reports cannot drop days of the history by them."""
        query = "SELECT has_function_privilege('public', $1, 'execute')"

        assert not await database.fetchval(query, f"jobs.{name}(integer)")
