"""The request log of a real service: which calls are in it, and what it says of them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import request
from mainstay.errors import MainstayError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.telemetry.call_lines import CallLines
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import PLANTED, Probe, probe_service
from tests.integration.shared.telemetry_stage import MIGRATIONS, Facts, connected, rows_of

GET = "mainstay.cache.v1.CacheService/Get"

Serve = Callable[[Callable[[Probe], Awaitable[Any]]], Awaitable[list[Facts]]]


@pytest.fixture
async def serve(postgres_url: str, log_lines: ReadLog) -> Serve:
    """Let calls be made to a service, and return the rows that it had left when it was gone."""
    await MIGRATIONS.apply(postgres_url)

    async def run(make_calls: Callable[[Probe], Awaitable[Any]]) -> list[Facts]:
        async with probe_service(postgres_url=postgres_url) as probe:
            await make_calls(probe)
        return await rows_of(postgres_url)

    return run


class TestACall:
    async def test_that_ends_well(self, serve: Serve) -> None:
        """Is found by its request id, with who made it, when, and how long it took."""

        async def make_calls(probe: Probe) -> None:
            with request(request_id="req-7", tenant="acme"):
                await probe.get("none")

        began = datetime.now(UTC)
        (row,) = [row for row in await serve(make_calls) if row["request_id"] == "req-7"]

        assert timedelta() <= row.pop("time") - began < timedelta(seconds=10)
        assert 0 < row.pop("duration_ms") < 10_000
        assert row.pop("instance").count(":") >= 2
        row.pop("trace_id")
        assert row == {
            "service": "probe",
            "method": GET,
            "code": "OK",
            "reason": "",
            "request_id": "req-7",
            "tenant": "acme",
            "principal": "anonymous",
            "stands_for": 1,
            "error": None,
        }

    async def test_that_is_refused(self, serve: Serve) -> None:
        """With code, reason and what the caller was told."""

        async def make_calls(probe: Probe) -> None:
            with request(tenant="acme"), pytest.raises(MainstayError):
                await probe.get("raise", "NotFoundError")

        (row,) = await serve(make_calls)

        assert (row["code"], row["reason"], row["error"], row["stands_for"]) == (
            "NOT_FOUND",
            "EXAMPLE_REASON",
            "what happened",
            1,
        )

    async def test_that_crashes(self, serve: Serve) -> None:
        """With the id under which the log has the details, and none of those."""

        async def make_calls(probe: Probe) -> None:
            with pytest.raises(MainstayError):
                await probe.get("crash")

        (row,) = await serve(make_calls)

        assert row["code"] == "INTERNAL"
        assert row["error"].startswith("internal error ")
        assert PLANTED not in row["error"]

    async def test_that_is_refused_at_the_door(self, serve: Serve) -> None:
        """Before it has a tenant: for those who see all."""

        async def make_calls(probe: Probe) -> None:
            with request(request_id="req-7", tenant="no tenant"), pytest.raises(MainstayError):
                await probe.get("none")

        (row,) = await serve(make_calls)

        assert (row["request_id"], row["tenant"], row["code"]) == ("req-7", "", "INVALID_ARGUMENT")

    async def test_of_a_method_that_does_not_exist(self, serve: Serve) -> None:
        """Under one name, so that nobody can invent them."""

        async def make_calls(probe: Probe) -> None:
            with pytest.raises(MainstayError):
                await probe.channel.unary(probe.raw("/no.Such/Method"), b"")

        (row,) = await serve(make_calls)

        assert (row["method"], row["code"]) == ("/unknown", "UNIMPLEMENTED")

    async def test_that_nobody_looks_for(self, serve: Serve) -> None:
        """Health checks and other quiet methods have no row."""

        async def make_calls(probe: Probe) -> None:
            health = health_pb2_grpc.HealthStub(probe.channel.raw)
            await probe.channel.unary(health.Check, health_pb2.HealthCheckRequest())
            await probe.channel.unary(probe.cache.BatchGet, cache_pb.BatchGetRequest())
            unknown = health_pb2.HealthCheckRequest(service="no.such")
            with pytest.raises(MainstayError):
                await probe.channel.unary(health.Check, unknown)

        assert await serve(make_calls) == []


class TestManyCalls:
    async def test_add_up(self, serve: Serve) -> None:
        """Beyond some lines a second a row stands for those that have none."""

        async def make_calls(probe: Probe) -> None:
            assert CallLines.installed is not None
            CallLines.installed.per_second = 10
            CallLines.installed.clock = lambda: began  # all of them within one second
            for _ in range(310):
                await probe.get("none")

        began = datetime.now(UTC).timestamp()
        rows = await serve(make_calls)

        assert [row["stands_for"] for row in rows].count(100) == 3
        assert sum(row["stands_for"] for row in rows) == 310


class TestPerformance:
    async def test_of_a_minute(self, serve: Serve, postgres_url: str) -> None:
        """A row for each method that was called, for the last minute of a service too."""

        async def make_calls(probe: Probe) -> None:
            for _ in range(5):
                await probe.get("none")
            with pytest.raises(MainstayError):
                await probe.get("raise", "NotFoundError")
            await probe.channel.unary(probe.cache.BatchGet, cache_pb.BatchGetRequest())

        await serve(make_calls)
        async with connected(postgres_url) as connection:
            rows = await connection.fetch(
                "SELECT name, sum(count) AS count, sum(errors) AS errors, min(p50_ms) AS p50, "
                "max(p99_ms) AS p99, min(min_ms) AS least, max(max_ms) AS most "
                "FROM telemetry.performance_metrics WHERE kind = 'rpc' GROUP BY name"
            )
        (row,) = rows

        assert (row["name"], row["count"], row["errors"]) == (GET, 6, 1)
        assert 0 <= row["least"] <= row["p50"] <= row["p99"] <= row["most"]


class TestWithoutIt:
    @pytest.mark.parametrize("settings", [{"request_log": False}, {"postgres_url": None}])
    async def test_nothing_is_written(
        self, postgres_url: str, settings: dict[str, Any], log_lines: ReadLog
    ) -> None:
        """By a setting, and where there is no PostgreSQL."""
        await MIGRATIONS.apply(postgres_url)
        async with probe_service(**{"postgres_url": postgres_url} | settings) as probe:
            await probe.get("none")

        assert await rows_of(postgres_url) == []
