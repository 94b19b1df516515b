"""`mainstay health` against a real service: report, explain, history, maintenance."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.layout import Layout
from cli.main import app
from mainstay.grpc_health.v1 import health_pb2
from tests.integration.health.running import Running, running

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_LOGGED = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[(debug|info|warning|error) *\] ")


@pytest.fixture
async def health(
    redis_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Running]:
    """Serve health and let the command find it, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    async with running(redis_url=redis_url, postgres_url=postgres_url) as started:
        monkeypatch.setenv("MAINSTAY_HEALTH_ADDRESS", started.app.service.address)
        await asyncio.wait_for(started.app.past.database.wait_connected(), 10)
        yield started


async def run(*arguments: str) -> Result:
    """Run the command in a thread; what the service logs meanwhile is not what was printed."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["health", *arguments])
    printed = result.stdout_bytes.splitlines(keepends=True)
    result.stdout_bytes = b"".join(line for line in printed if not _LOGGED.match(line))
    return result


class TestReport:
    async def test_it_lists_every_target(self, health: Running) -> None:
        """With its state in words, and the exit status of a suite that takes traffic."""
        result = await run("report")

        assert (result.exit_code, result.stdout.splitlines()[0].startswith("the suite is ")) == (
            0,
            True,
        )
        for name in ("cache (critical)", "database", "jobs (critical)", "redis"):
            assert name in result.stdout

    async def test_a_suite_that_takes_no_traffic_is_another_status(self, health: Running) -> None:
        """For scripts, which read nothing else."""
        health.targets["cache"].status = NOT_SERVING
        await health.look()
        result = await run("report")

        assert 3 == result.exit_code
        assert "Answered NOT_SERVING: it is starting, draining or broken." in result.stdout

    async def test_json(self, health: Running) -> None:
        """All that the client knows, for programs."""
        document = json.loads((await run("report", "--json")).stdout)
        checks = {check["name"]: check for check in document["checks"]}

        assert checks["jobs"]["needs"] == ["database"]
        assert checks["cache"]["replicas"][0]["state"] == "healthy"


class TestExplain:
    async def test_why_and_who_else(self, health: Running) -> None:
        """The sentence, the cause's request id, and who is hit."""
        health.targets["jobs"].status = NOT_SERVING
        await health.look()
        result = await run("explain", "jobs")

        assert result.stdout.startswith("why         jobs is unhealthy: Answered NOT_SERVING")
        assert f"request id  {health.targets['jobs'].request_ids[-1]}" in result.stdout
        assert "hits        queue" in result.stdout

    async def test_an_unknown_target_is_refused_in_a_line(self, health: Running) -> None:
        """With where the names are."""
        result = await run("explain", "cash")

        assert (result.exit_code, result.stderr) == (
            1,
            "error: no target 'cash'; GetReport has the names\n",
        )


class TestHistory:
    async def test_spans_budget_and_incidents(self, health: Running) -> None:
        """An incident is there as soon as it is written."""
        health.targets["jobs"].status = NOT_SERVING
        await health.look()
        health.app.changes.look()  # not a moment later, with what else is learned by then
        await health.app.past.recorder.write_once(everything=True)
        result = await run("history", "jobs")

        lines = result.stdout.splitlines()
        assert [line.split("  ")[0] for line in lines[:6]] == [
            "uptime 1 h",
            "uptime 1 d",
            "uptime 7 d",
            "uptime 30 d",
            "uptime 90 d",
            "error budget 30 d",
        ]
        assert "unhealthy" in lines[-1]
        assert ", goes on" in lines[-1]


class TestMaintenance:
    async def test_there_and_back(self, health: Running) -> None:
        """What was set is told with its end, and reported until it is ended."""
        begun = await run("maintenance", "begin", "cache", "--reason", "New disks.", "--for", "1h")
        during = await run("report", "--json")
        ended = await run("maintenance", "end", "cache")
        after = await run("report", "--json")

        def state(result: Result) -> str:
            checks = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
            return str(checks["cache"]["state"])

        assert re.fullmatch(
            r"cache is out of service \(maintenance\) until \d{4}-\d\d-\d\d [\d:]+ UTC\n",
            begun.stdout,
        )
        assert ("maintenance", "healthy") == (state(during), state(after))
        assert ended.stdout == "cache is in service\n"

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("--reason", "", "--for", "1h"), "reason"),
            (("--reason", "Disks.", "--for", "soon"), "--for 'soon' should be whole numbers"),
            (("--reason", "Disks.", "--for", "90d"), "duration"),
        ],
    )
    async def test_what_makes_no_sense_is_refused_in_a_line(
        self, health: Running, arguments: tuple[str, ...], expected: str
    ) -> None:
        """That says what to write instead."""
        result = await run("maintenance", "begin", "cache", *arguments)

        assert 2 == result.exit_code
        assert expected in result.stderr


class TestWithoutAService:
    async def test_it_says_where_it_looked(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """And how to start one."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MAINSTAY_HEALTH_ADDRESS", "127.0.0.1:1")
        result = await run("report")

        assert 1 == result.exit_code
        assert result.stderr.startswith("error: the health service does not answer at 127.0.0.1:1")
