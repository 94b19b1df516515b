"""The contract of the health service, through the SDK: what is, why, what was, what is out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest

from mainstay.errors import DatabaseError, NotFoundError, UnavailableError, ValidationError
from mainstay.grpc_health.v1 import health_pb2
from mainstay.health import Check, Mode, Report, State
from mainstay.health.v1 import health_service_pb2 as pb
from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from tests.integration.health.running import Running, running

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HOUR = timedelta(hours=1)
NOWHERE = "postgresql://mainstay@127.0.0.1:1/mainstay"


@pytest.fixture
async def health(redis_url: str, postgres_url: str) -> AsyncIterator[Running]:
    """Run a health service with a real Redis and a real PostgreSQL."""
    async with running(redis_url=redis_url, postgres_url=postgres_url) as started:
        await asyncio.wait_for(started.app.past.database.wait_connected(), 10)
        yield started


@pytest.fixture
async def without_database(redis_url: str) -> AsyncIterator[Running]:
    """Run a health service whose PostgreSQL is gone."""
    async with running(redis_url=redis_url, postgres_url=NOWHERE) as started:
        yield started


def named(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


class TestGetReport:
    async def test_a_shared_dependency_degrades_and_is_named(
        self, without_database: Running
    ) -> None:
        """Jobs is degraded because of the database, and takes traffic."""
        report = await without_database.client.get_report()
        jobs, database = named(report, "jobs"), named(report, "database")

        assert (report.state, jobs.state, jobs.own_state) == (
            State.DEGRADED,
            State.DEGRADED,
            State.HEALTHY,
        )
        assert jobs.because == ("database",)
        assert jobs.request_id == database.request_id
        assert jobs.needs == ("database",)

    async def test_replicas_stand_in_their_service(self, without_database: Running) -> None:
        """By their addresses, for those who run them."""
        cache = named(await without_database.client.get_report(), "cache")

        assert [f"cache/{without_database.targets['cache'].address}"] == [
            each.name for each in cache.replicas
        ]


class TestExplain:
    async def test_why_and_who_else(self, without_database: Running) -> None:
        """One sentence, the request id of the probe that found it, and the blast radius."""
        found = await without_database.client.explain("jobs")
        of_database = await without_database.client.explain("database")

        assert found.summary.startswith("jobs is degraded because of database (unhealthy:")
        assert [root.name for root in found.root_causes] == ["database"]
        assert found.root_causes[0].request_id
        assert "jobs" in of_database.blast_radius

    async def test_the_whole(self, without_database: Running) -> None:
        """Without a name the suite is explained."""
        found = await without_database.client.explain()

        assert (found.check.name, found.check.state) == ("suite", State.DEGRADED)

    async def test_an_unknown_name(self, without_database: Running) -> None:
        """NOT_FOUND, with where the names are."""
        with pytest.raises(NotFoundError, match="GetReport has the names"):
            await without_database.client.explain("cash")


class TestWatchReport:
    async def test_a_change_is_pushed(self, without_database: Running) -> None:
        """The report now, then the one after the change."""
        async with aclosing(without_database.client.watch_report()) as reports:
            first = await asyncio.wait_for(anext(reports), 10)
            without_database.targets["jobs"].status = NOT_SERVING
            await without_database.look()
            second = await asyncio.wait_for(anext(reports), 10)

        assert (first.state, second.state) == (State.DEGRADED, State.UNHEALTHY)

    async def test_draining_ends_it_with_a_reason(self, without_database: Running) -> None:
        """A watcher learns that it should watch elsewhere."""
        async with aclosing(without_database.client.watch_report()) as reports:
            await asyncio.wait_for(anext(reports), 10)
            await without_database.app.changes.drain()
            with pytest.raises(UnavailableError) as ended:
                await asyncio.wait_for(anext(reports), 10)

        assert ended.value.reason == "DRAINING"


class TestMaintenance:
    async def test_it_is_served_until_it_is_ended(self, health: Running) -> None:
        """Balancers stay away, the whole is not blamed; then all is as before."""
        client = health.client
        health.targets["cache"].status = NOT_SERVING
        await health.look()
        await client.set_maintenance("cache", Mode.DRAIN, duration=HOUR, reason="New disks.")
        during = await client.get_report()
        ready_during = await client.ready("cache")
        await client.end_maintenance("cache")
        after = await client.get_report()

        assert (during.state, named(during, "cache").state) == (State.HEALTHY, State.MAINTENANCE)
        shown = named(during, "cache").maintenance
        assert shown is not None
        assert (shown.mode, shown.reason, shown.end_time - shown.start_time) == (
            Mode.DRAIN,
            "New disks.",
            HOUR,
        )
        assert ready_during is None
        assert State.UNHEALTHY is after.state

    async def test_another_replica_hears_of_it(
        self, health: Running, redis_url: str, postgres_url: str
    ) -> None:
        """It is kept in the database; a replica that starts later knows it from the start."""
        await health.client.set_maintenance(
            "suite", Mode.MAINTENANCE, duration=HOUR, reason="Move."
        )
        async with (
            running(redis_url=redis_url, postgres_url=postgres_url) as other,
            aclosing(other.client.watch_report()) as reports,
            asyncio.timeout(10),
        ):
            async for report in reports:
                if report.maintenance is not None:
                    break

        assert State.MAINTENANCE is report.state

    async def test_without_the_database_nothing_changes(self, without_database: Running) -> None:
        """It would be forgotten by a restart, and unknown to the other replicas."""
        client = without_database.client
        with pytest.raises(DatabaseError):
            await client.set_maintenance("cache", Mode.DRAIN, duration=HOUR, reason="Disks.")
        report = await client.get_report()

        assert named(report, "cache").maintenance is None

    @pytest.mark.parametrize(
        ("duration", "reason", "field"),
        [
            (timedelta(0), "Disks.", "duration"),
            (timedelta(days=31), "Disks.", "duration"),
            (timedelta(seconds=-5), "Disks.", "duration"),
            (HOUR, "", "reason"),
            (HOUR, "x" * 201, "reason"),
            (HOUR, "two\nlines", "reason"),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, without_database: Running, duration: timedelta, reason: str, field: str
    ) -> None:
        """It ends by itself, and says why."""
        with pytest.raises(ValidationError) as refused:
            await without_database.client.set_maintenance(
                "cache", Mode.DRAIN, duration=duration, reason=reason
            )

        assert [field] == list(refused.value.fields)

    async def test_a_mode_has_to_be_given(self, without_database: Running) -> None:
        """Nothing goes out of service by an empty message."""
        stub = pb_grpc.HealthServiceStub(without_database.client._channel.raw)
        with pytest.raises(ValidationError) as refused:
            await without_database.client._channel.unary(
                stub.SetMaintenance, pb.SetMaintenanceRequest()
            )

        assert "mode" in refused.value.fields

    async def test_an_unknown_target(self, without_database: Running) -> None:
        """A typing mistake must not look like success."""
        with pytest.raises(NotFoundError):
            await without_database.client.set_maintenance(
                "cash", Mode.DRAIN, duration=HOUR, reason="Disks."
            )


class TestReady:
    async def test_this_instance(self, without_database: Running) -> None:
        """Whatever its targets do, it can be asked."""
        found = await without_database.client.ready()

        assert found is not None
        assert (found.degraded, found.failing_open) == (False, False)

    async def test_a_degraded_target_takes_traffic_and_says_so(
        self, without_database: Running
    ) -> None:
        """Others are preferred where there are any."""
        found = await without_database.client.ready("jobs")

        assert found is not None
        assert found.degraded

    async def test_a_dead_target_is_unavailable(self, health: Running) -> None:
        """The code is all that some balancers see."""
        await health.targets["cache"].stop()
        await health.look()

        assert await health.client.ready("cache") is None
        assert await health.client.ready("suite") is None
        assert await health.client.ready("jobs") is not None

    async def test_an_unknown_name_is_neither(self, without_database: Running) -> None:
        """NOT_FOUND: a typing mistake in a balancer's configuration shows."""
        with pytest.raises(NotFoundError):
            await without_database.client.ready("cash")


class TestGetHistory:
    async def test_a_target_nobody_knows_anything_of(self, health: Running) -> None:
        """Five spans, nothing claimed, the whole budget left."""
        found = await health.client.get_history("cache")

        assert [uptime.span for uptime in found.uptimes] == [
            timedelta(hours=1),
            timedelta(days=1),
            timedelta(days=7),
            timedelta(days=30),
            timedelta(days=90),
        ]
        assert {None} == {uptime.ratio for uptime in found.uptimes}
        assert found.error_budget.remaining_ratio == 1

    @pytest.mark.parametrize("token", ["nonsense", "WyJ4IiwgInkiXQ", "WzEsIDJd"])
    async def test_a_forged_token_is_refused(self, without_database: Running, token: str) -> None:
        """Named, before any query is made of it."""
        with pytest.raises(ValidationError) as refused:
            await without_database.client.get_history("cache", page_token=token)

        assert ["page_token"] == list(refused.value.fields)

    async def test_without_the_database(self, without_database: Running) -> None:
        """The one answer that needs it says so."""
        with pytest.raises(DatabaseError):
            await without_database.client.get_history()
