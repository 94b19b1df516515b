"""What starts by the clock: once per tick, whoever looks, and only what can be started."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.postgres_schedules import PostgresSchedules
from services.jobs.schedule import CatchUp, ScheduleDraft
from shared.postgres.pool import Postgres
from shared.rpc.call import Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce, ServeJobs
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import PATIENCE, Workers, function

NIGHTLY = {
    "name": "nightly",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "event": "analytics/daily.aggregate",
    "data_json": '{"date": "{date}"}',
}


def put(**fields: Any) -> pb.PutScheduleRequest:
    """Return a request for the nightly schedule, or one that differs."""
    wanted = {**NIGHTLY, **fields}
    if "function" in fields:
        del wanted["event"]
    return pb.PutScheduleRequest(schedule=job_pb2.Schedule(**wanted))


async def make_due(database: asyncpg.Connection, name: str, ago: timedelta) -> datetime:
    """Pretend that a schedule's next tick was to be some time ago; returns when."""
    moment = datetime.now(UTC).replace(second=0, microsecond=0) - ago
    await database.execute("UPDATE jobs.schedules SET next_time = $2 WHERE name = $1", name, moment)
    return moment


async def jobs_of(database: asyncpg.Connection, schedule: str, count: int) -> list[Any]:
    """Return the jobs of a schedule once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = await database.fetch(
                "SELECT * FROM jobs.jobs WHERE schedule = $1 ORDER BY job_id", schedule
            )
            if len(rows) >= count:
                return list(rows)
            await asyncio.sleep(0.02)


class TestPut:
    async def test_stored(self, jobs: Producer) -> None:
        """A schedule is listed with the time of its next tick, and replaced by its name."""
        stored = (await jobs.call("PutSchedule", put())).schedule
        replaced = (await jobs.call("PutSchedule", put(cron="0 4 * * *"))).schedule
        listed = (await jobs.call("ListSchedules", pb.ListSchedulesRequest())).schedules

        assert stored.next_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
        assert job_pb2.CATCH_UP_LATEST == stored.catch_up
        assert [replaced] == list(listed)
        assert "0 4 * * *" == replaced.cron

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"cron": "61 * * * *"}, "schedule.cron"),
            ({"cron": "0 0 31 2 *"}, "schedule.cron"),
            ({"time_zone": "Mars/Olympus"}, "schedule.time_zone"),
            ({"name": "No Name"}, "schedule.name"),
            ({"data_json": "[]"}, "schedule.data_json"),
            ({"data_json": '{"date": "tomorrow"}'}, "schedule.data_json/date"),
        ],
    )
    async def test_impossible(self, jobs: Producer, fields: dict[str, str], named: str) -> None:
        """What cannot be is told by its field, and nothing is stored."""
        with pytest.raises(ValidationError) as caught:
            await jobs.call("PutSchedule", put(**fields))
        listed = await jobs.call("ListSchedules", pb.ListSchedulesRequest())

        assert named in caught.value.fields
        assert not listed.schedules

    @pytest.mark.parametrize("fields", [{"event": "no/such"}, {"function": "no-such"}])
    async def test_unknown(self, jobs: Producer, fields: dict[str, str]) -> None:
        """What is to start has to be known."""
        with pytest.raises(NotFoundError):
            await jobs.call("PutSchedule", put(**fields))

    async def test_pages(self, jobs: Producer) -> None:
        """Schedules are listed by name, page by page."""
        for name in ("a", "b", "c"):
            await jobs.call("PutSchedule", put(name=name))
        first = await jobs.call("ListSchedules", pb.ListSchedulesRequest(page_size=2))
        second = await jobs.call(
            "ListSchedules", pb.ListSchedulesRequest(page_token=first.next_page_token)
        )

        assert ["a", "b"] == [schedule.name for schedule in first.schedules]
        assert ["c"] == [schedule.name for schedule in second.schedules]
        assert "" == second.next_page_token

    async def test_tenants(self, service: Service, produce: Produce) -> None:
        """Another tenant neither sees nor deletes it."""
        await (await produce(service)).call("PutSchedule", put())
        other = await produce(service, "other")

        assert not (await other.call("ListSchedules", pb.ListSchedulesRequest())).schedules
        with pytest.raises(NotFoundError):
            await other.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))


class TestTicks:
    async def test_event(
        self, jobs: Producer, workers: Workers, service: Service, database: asyncpg.Connection
    ) -> None:
        """A tick sends the event with its day filled in; the job names its schedule."""
        await workers.connect(service.address, function("sum", "analytics/daily.aggregate"))
        await jobs.call("PutSchedule", put(time_zone="UTC", cron="* * * * *"))
        tick = await make_due(database, "nightly", timedelta())
        # Any change of a schedule has the ticks looked at.
        await jobs.call("PutSchedule", put(name="other"))
        (row,) = await jobs_of(database, "nightly", 1)
        job = await jobs.get(str(row["job_id"]))

        assert "nightly" == job.schedule
        assert "analytics/daily.aggregate" == job.event_name
        assert f'{{"date":"{tick.date().isoformat()}"}}' == job.data_json

    async def test_event_whose_contract_was_put(
        self,
        jobs: Producer,
        produce: Produce,
        serve_jobs: ServeJobs,
        workers: Workers,
        service: Service,
        database: asyncpg.Connection,
    ) -> None:
        """A tick may send an event whose contract came by a call, at another replica too."""
        other = await produce(await serve_jobs())
        contract = pb.PutEventSchemaRequest(
            name="stock/counted", version=1, schema_json='{"type": "object"}'
        )
        await other.call("PutEventSchema", contract)
        await workers.connect(service.address, function("count", "stock/counted"))
        await jobs.call("PutSchedule", put(event="stock/counted", data_json="{}", cron="* * * * *"))
        await make_due(database, "nightly", timedelta())
        await jobs.call("PutSchedule", put(name="other"))
        (row,) = await jobs_of(database, "nightly", 1)

        assert ("count", "stock/counted") == (row["function"], row["event_name"])

    async def test_function(
        self, jobs: Producer, workers: Workers, service: Service, database: asyncpg.Connection
    ) -> None:
        """A schedule may name a function that no event starts."""
        await workers.connect(service.address, function("sweep", ""))
        await jobs.call(
            "PutSchedule", put(function="sweep", data_json='{"at": "{tick}"}', cron="* * * * *")
        )
        await make_due(database, "nightly", timedelta())
        await jobs.call("PutSchedule", put(name="other"))
        (row,) = await jobs_of(database, "nightly", 1)

        assert "sweep" == row["function"]

    async def test_once_on_two_replicas(
        self,
        serve_jobs: ServeJobs,
        produce: Produce,
        workers: Workers,
        service: Service,
        database: asyncpg.Connection,
    ) -> None:
        """Two replicas that look at the same moment start one job for each tick."""
        second = await serve_jobs()
        await workers.connect(service.address, function("sum", "analytics/daily.aggregate"))
        producers = [await produce(service), await produce(second)]
        await producers[0].call("PutSchedule", put(time_zone="UTC", cron="0 6 * * *", catch_up=3))
        tick = await make_due(database, "nightly", timedelta(days=5))
        await asyncio.gather(
            *(each.call("PutSchedule", put(name=f"s{n}")) for n, each in enumerate(producers))
        )
        rows = await jobs_of(database, "nightly", 5)
        listed = (await producers[1].call("ListSchedules", pb.ListSchedulesRequest())).schedules
        (nightly,) = (schedule for schedule in listed if schedule.name == "nightly")

        days = [row["data"] for row in rows]
        assert len(set(days)) == len(days)
        assert tick.date().isoformat() not in "".join(days) or tick.hour <= 6
        assert nightly.last_time.ToDatetime(tzinfo=UTC) < datetime.now(UTC)

    async def test_paused(self, jobs: Producer, database: asyncpg.Connection) -> None:
        """A paused schedule has no next tick; when it goes on, what has passed is left out."""
        await jobs.call("PutSchedule", put())
        paused = await jobs.call(
            "PauseSchedule", pb.PauseScheduleRequest(name="nightly", paused=True)
        )
        again = await jobs.call(
            "PauseSchedule", pb.PauseScheduleRequest(name="nightly", paused=False)
        )

        assert (True, False) == (paused.schedule.paused, paused.schedule.HasField("next_time"))
        assert again.schedule.next_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)

    async def test_deleted(self, jobs: Producer) -> None:
        """A deleted schedule is gone; a second time there is none."""
        await jobs.call("PutSchedule", put())
        await jobs.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))

        with pytest.raises(NotFoundError):
            await jobs.call("DeleteSchedule", pb.DeleteScheduleRequest(name="nightly"))


class TestSystem:
    DRAFT = ScheduleDraft(
        name="mainstay/sweep",
        cron="43 * * * *",
        time_zone="UTC",
        event="",
        function="mainstay/sweep",
        data="{}",
        catch_up=CatchUp.LATEST,
        paused=False,
    )

    async def test_kept(
        self, service: Service, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """The service's own keeps its next tick across starts, and nobody deletes it."""
        postgres = Postgres(postgres_url)
        await postgres.start()
        try:
            store = PostgresSchedules(postgres)
            await store.keep(Tenant("own"), self.DRAFT)
            due = await make_due(database, "mainstay/sweep", timedelta(hours=1))
            await store.keep(Tenant("own"), self.DRAFT)
            kept = await database.fetchval(
                "SELECT next_time FROM jobs.schedules WHERE tenant = 'own'"
            )
            deleted = await store.delete(Tenant("own"), "mainstay/sweep")
        finally:
            await postgres.close()

        assert (due, False) == (kept, deleted)

    async def test_corrected_while_paused(
        self, service: Service, postgres_url: str, database: asyncpg.Connection
    ) -> None:
        """One that was paused and means something else after an update stays paused."""
        postgres = Postgres(postgres_url)
        await postgres.start()
        try:
            store = PostgresSchedules(postgres)
            await store.keep(Tenant("own"), self.DRAFT)
            await store.pause(Tenant("own"), "mainstay/sweep", paused=True)
            await store.keep(Tenant("own"), replace(self.DRAFT, cron="17 * * * *"))
            row = await database.fetchrow(
                "SELECT cron, paused, next_time FROM jobs.schedules WHERE tenant = 'own'"
            )
        finally:
            await postgres.close()

        assert ("17 * * * *", True, None) == tuple(row)
