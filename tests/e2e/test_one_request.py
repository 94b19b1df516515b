"""One request id and one trace through every process of the suite."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.layout import Layout
from cli.settings import SuiteSettings
from cli.suite import Suite
from examples.video_app.backend import Video, VideoBackend
from mainstay import Mainstay, RequestContext, context
from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.cache.v1 import cache_service_pb2_grpc as cache_grpc
from mainstay.errors import ValidationError
from mainstay.jobs import JobState

SERVICES = ("cache", "ratelimit", "jobs", "health")
PROCESSES = (*SERVICES, "worker")

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A suite and a worker, and what they wrote down."""

    layout: Layout
    directory: Path

    def environment(self, process: str) -> dict[str, str]:
        """Return what makes a process write its spans."""
        return {
            "MAINSTAY_TRACE_FILE": str(self.directory / f"{process}.spans"),
            "MAINSTAY_LOG_FORMAT": "json",
        }

    def log(self, process: str) -> list[dict[str, Any]]:
        """Return the JSON lines that a process logged."""
        path = self.directory / "logs" / f"{process}.log"
        return [json.loads(line) for line in path.read_text().splitlines() if line[:1] == "{"]

    def spans(self, process: str) -> list[dict[str, Any]]:
        """Return the spans that a process exported."""
        path = self.directory / f"{process}.spans"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def client(self) -> Mainstay:
        """Return clients of the suite."""
        return Mainstay(
            cache=self.layout.service("cache").address,
            ratelimit=self.layout.service("ratelimit").address,
            jobs=self.layout.service("jobs").address,
            health=self.layout.service("health").address,
        )


@asynccontextmanager
async def suite_with_worker(directory: Path) -> AsyncIterator[Stage]:
    """Run everything; what it wrote can be read when the block has ended."""
    stage = Stage(layout=Layout.on_free_ports(), directory=directory)
    suite = Suite(
        data_dir=directory,
        layout=stage.layout,
        settings=SuiteSettings(),
        environment=stage.environment,
    )
    async with suite:
        await suite.start(lambda _: None)
        addresses = {
            f"MAINSTAY_{name.upper()}_ADDRESS": stage.layout.service(name).address
            for name in SERVICES
        }
        with (directory / "logs" / "worker.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "examples.video_app.worker",
                env={**os.environ, **stage.environment("worker"), **addresses},
                stdout=log,
                stderr=log,
            )
        try:
            yield stage
        finally:
            worker.terminate()
            await asyncio.wait_for(worker.wait(), 20)


class TestOneRequest:
    async def test_leaves_its_id_and_its_trace_in_every_process(self, tmp_path: Path) -> None:
        """Logs of all services and the worker name the id; spans of all belong to one trace."""
        trace_id, request_id = secrets.token_hex(16), f"e2e-{secrets.token_hex(4)}"
        request = RequestContext(
            request_id=request_id,
            tenant="acme",
            traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-01",
        )
        video = Video(
            video_id=secrets.token_hex(4),
            creator_id="creator-1",
            source_url="https://example.com/video.mp4",
            duration_seconds=12.0,
            title="A test",
        )

        async with suite_with_worker(tmp_path) as stage, stage.client() as mainstay:
            with context.use(request):
                event = await first_accepted(mainstay, video)
                job = await mainstay.jobs.wait_for_job(event, timeout=40)
                await mainstay.health.get_report()

        assert (JobState.SUCCEEDED, request_id) == (job.state, job.request_id)
        for process in PROCESSES:
            named = [line for line in stage.log(process) if line.get("request_id") == request_id]
            assert named, f"{process} logged nothing under {request_id}"
            traces = {span["context"]["trace_id"] for span in stage.spans(process)}
            assert f"0x{trace_id}" in traces, f"{process} has no span in the trace"

    async def test_comes_back_to_its_caller(self, tmp_path: Path) -> None:
        """The id is echoed with the answer, and stands in an error."""
        async with suite_with_worker(tmp_path) as stage:
            address = stage.layout.service("cache").address
            async with grpc.aio.insecure_channel(address) as channel:
                stub = cache_grpc.CacheServiceStub(channel)
                call = stub.Get(
                    cache_pb.GetRequest(namespace="video", key="1"),
                    timeout=5,
                    metadata=(("x-request-id", "mine-1"),),
                )
                await call
                echoed = dict(await call.trailing_metadata())["x-request-id"]
            async with stage.client() as mainstay:
                with context.request(request_id="mine-2"), pytest.raises(ValidationError) as error:
                    await mainstay.cache.get("Not A Namespace", "1")

        assert (echoed, error.value.request_id) == ("mine-1", "mine-2")


async def first_accepted(mainstay: Mainstay, video: Video) -> str:
    """Upload as soon as the worker has registered its function; returns the job's id."""
    backend = VideoBackend(mainstay)
    async with asyncio.timeout(30):
        while True:
            upload = await mainstay.jobs.send_event(
                "video/upload.completed",
                {
                    "video_id": video.video_id,
                    "creator_id": video.creator_id,
                    "source_url": video.source_url,
                    "duration_seconds": video.duration_seconds,
                },
            )
            if upload.job_ids:
                await backend.admit("ada", "pro")
                return upload.job_ids[0]
