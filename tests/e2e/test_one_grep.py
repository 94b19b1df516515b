"""One `grep` for a request id tells the whole story of a request, from the limit to the end."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cli.layout import Layout
from cli.settings import SuiteSettings
from cli.suite import Suite
from mainstay import Mainstay, RequestContext, Worker, context
from mainstay.jobs import JobContext, JobState, JsonValue

EVENT = "video/upload.completed"
UPLOAD: dict[str, JsonValue] = {
    "video_id": "v-1",
    "creator_id": "ann",
    "source_url": "https://example.com/video.mp4",
    "duration_seconds": 12.0,
}
SERVICES = ("cache", "ratelimit", "jobs", "health")

pytestmark = pytest.mark.timeout(120)


class BrokenError(Exception):
    """What the second step always ends with."""


@asynccontextmanager
async def running_suite(directory: Path) -> AsyncIterator[Layout]:
    """Run the four services; their logs are whole when the block has ended."""
    layout = Layout.on_free_ports()
    suite = Suite(
        data_dir=directory,
        layout=layout,
        settings=SuiteSettings(),
        environment=lambda _: {"MAINSTAY_LOG_FORMAT": "json"},
    )
    async with suite:
        await suite.start(lambda _: None)
        yield layout


@asynccontextmanager
async def breaking_worker(
    address: str, mainstay: Mainstay, undone: list[str]
) -> AsyncIterator[None]:
    """Work at a function whose second step fails, whose first one is undone then."""
    worker = Worker(address, name="breaking", tenant="*")

    async def reserve() -> str:
        await mainstay.cache.set("reservations", "one", b"held")
        return "one"

    async def release(_: JsonValue) -> None:
        await mainstay.cache.delete("reservations", "one")
        undone.append("reserve")

    async def charge() -> None:
        raise BrokenError("the card was refused")

    @worker.function("book", on=EVENT, retries=1, initial_backoff=0.05)
    async def book(job: JobContext) -> None:
        await job.step.run("reserve", reserve, compensate=release)
        await job.step.run("charge", charge)

    running = asyncio.create_task(worker.run())
    await worker.ready()
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def grep(request_id: str, directory: Path) -> list[dict[str, Any]]:
    """Return the lines of all logs that contain the id, in the order of their times."""
    found = [
        json.loads(line)
        for log in (directory / "logs").glob("*.log")
        for line in log.read_text().splitlines()
        if request_id in line
    ]
    return sorted(found, key=lambda line: line["timestamp"])


class TestOneGrep:
    async def test_tells_the_whole_story(self, tmp_path: Path) -> None:
        """Limit, cache, event, both attempts, the undoing, the dead letter: in order of time."""
        request_id, undone = f"grep-{secrets.token_hex(6)}-{os.getpid()}", list[str]()
        async with running_suite(tmp_path) as layout:
            addresses = {name: layout.service(name).address for name in SERVICES}
            async with (
                Mainstay(
                    cache=addresses["cache"],
                    ratelimit=addresses["ratelimit"],
                    jobs=addresses["jobs"],
                    health=addresses["health"],
                ) as mainstay,
                breaking_worker(addresses["jobs"], mainstay, undone),
            ):
                with context.use(RequestContext(request_id=request_id, tenant="acme")):
                    await mainstay.ratelimit.check("user:ann", "/api/videos/upload", plan="pro")
                    await mainstay.cache.get("creators", "ann")
                    sent = await mainstay.jobs.send_event(EVENT, UPLOAD)
                    await mainstay.health.get_report()
                (job_id,) = sent.job_ids
                with context.request(request_id="another", tenant="acme"):
                    job = await mainstay.jobs.wait_for_job(job_id, timeout=40)
        lines = grep(request_id, tmp_path)

        assert (JobState.DEAD_LETTERED, ["reserve"]) == (job.state, undone)
        assert set(SERVICES) == {line["service"] for line in lines}
        assert {"acme"} == {line["tenant"] for line in lines}
        assert [
            ("jobs", "job_claimed", 1, None),
            ("jobs", "job_attempt_ended", 1, "retrying"),
            ("jobs", "job_claimed", 2, None),
            ("jobs", "job_attempt_ended", 2, "rolling_back"),
            ("jobs", "job_claimed", 2, None),
            ("jobs", "job_attempt_ended", 2, "dead_lettered"),
        ] == [
            (line["service"], line["event"], line["attempt"], line.get("state"))
            for line in lines
            if line["event"].startswith("job_")
        ]
        methods = [
            line["method"].rpartition("/")[2] for line in lines if line["event"] == "call_finished"
        ]
        assert ["Check", "Get"] == methods[:2]
        assert {"Check", "Get", "SendEvents", "GetReport", "Set", "Delete"} == set(methods)
        failures = [line.get("failure") for line in lines if line["event"] == "job_attempt_ended"]
        assert ["BrokenError", "BrokenError"] == failures[:2]
