"""The example app's backend does what its README says, on the real services."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from cli.embedded.redis import RedisServer
from examples.video_app.backend import (
    CreatorDirectory,
    NobodyProcessesVideosError,
    Video,
    VideoBackend,
)
from examples.video_app.catalogue import METADATA_NAMESPACE
from examples.video_app.jobs.videos import CHUNKS
from mainstay import Mainstay, context
from mainstay.cache.client import Hit
from mainstay.errors import RateLimitError
from mainstay.jobs import JobState
from mainstay.ratelimit import FailureMode
from tests.integration.video_app.app_process import (
    PATIENCE,
    next_line,
    said,
    start,
    worker_process,
)

CHUNK_KEYS = {f"chunk-{number}" for number in range(CHUNKS)}
STEPS = {"probe", *CHUNK_KEYS, "thumbnails", "publish", "play"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
VIDEO = Video(
    video_id="video-1",
    creator_id="creator-7",
    source_url="https://uploads.example/video-1.mp4",
    duration_seconds=94.0,
    title="How bridges stand",
)


@pytest.mark.usefixtures("worker_in_test")
class TestUpload:
    async def test_is_limited_looked_up_and_processed(self, mainstay: Mainstay) -> None:
        """Rate limit, cache and job, and the metadata is where page views look for it."""
        upload = await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)

        job = await mainstay.jobs.wait_for_job(upload.job_id, timeout=PATIENCE)
        published = await mainstay.cache.get(METADATA_NAMESPACE, "video-1")

        assert (4, False) == (upload.limit.remaining, upload.settings.from_cache)
        assert JobState.SUCCEEDED is job.state
        assert STEPS == {step.key for step in job.steps}
        assert isinstance(published, Hit)
        assert job.result == json.loads(published.value)

    async def test_asks_for_settings_once(self, mainstay: Mainstay) -> None:
        """The second upload finds them in the cache."""
        directory = CreatorDirectory(seconds=0)
        backend = VideoBackend(mainstay, directory)

        uploads = [await backend.upload("user-1", "basic", VIDEO) for _ in range(2)]

        assert [False, True] == [upload.settings.from_cache for upload in uploads]
        assert 1 == directory.loads

    async def test_of_the_same_video_starts_one_job(self, mainstay: Mainstay) -> None:
        """A handler that is called twice does no harm."""
        backend = VideoBackend(mainstay)

        first, again = [await backend.upload("user-1", "basic", VIDEO) for _ in range(2)]

        assert (first.job_id, True) == (again.job_id, again.event.duplicate)

    async def test_is_refused_when_the_plan_is_used_up(self, mainstay: Mainstay) -> None:
        """Five an hour on the plan basic, and the error says when to come back."""
        backend = VideoBackend(mainstay)
        for _ in range(5):
            await backend.admit("user-1", "basic")

        with pytest.raises(RateLimitError) as caught:
            await backend.upload("user-1", "basic", VIDEO)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 3000


class TestUploadWithoutWorker:
    async def test_says_what_is_missing(self, mainstay: Mainstay) -> None:
        """No function has been declared for the event yet."""
        with pytest.raises(NobodyProcessesVideosError, match=r"examples\.video_app\.worker"):
            await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)


class TestWorkerProcess:
    async def test_logs_and_traces_under_the_request_of_the_upload(
        self, mainstay: Mainstay, addresses: dict[str, str], tmp_path: Path
    ) -> None:
        """JSON lines with the request id; spans of job, steps and the call to the cache."""
        spans_file = tmp_path / "spans.jsonl"
        sender = context.RequestContext(
            request_id="request-42", traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01"
        )
        tracing = {"MAINSTAY_TRACE_FILE": str(spans_file)}
        async with worker_process(addresses, speed=50, **tracing) as process:
            with context.use(sender):
                await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)
            lines = [await next_line(process, "job started: process-video")]
            lines += [await next_line(process, "step stored") for _ in STEPS]
            lines += [await next_line(process, "job succeeded: process-video")]
            process.terminate()
            assert 0 == await asyncio.wait_for(process.wait(), PATIENCE)

        assert {("request-42", "acme", "worker")} == {
            (line["request_id"], line["tenant"], line["service"]) for line in lines
        }
        spans = [json.loads(line) for line in spans_file.read_text().splitlines()]
        assert {"process-video", *STEPS} < {span["name"] for span in spans}
        traced = [span for span in spans if span["context"]["trace_id"] == f"0x{TRACE_ID}"]
        assert "mainstay.cache.v1.CacheService/Set" in {span["name"] for span in traced}
        assert {"worker"} == {span["resource"]["attributes"]["service.name"] for span in traced}


@pytest.mark.usefixtures("worker_in_test")
class TestBackendProcess:
    async def test_uploads_a_video_and_watches_its_job(self, addresses: dict[str, str]) -> None:
        """What somebody sees who follows the README."""
        process = await start("backend", addresses)
        lines = await said(process)

        assert 0 == process.returncode
        assert ["request id", "job       "] == [line[:10] for line in lines[:2]]
        assert re.fullmatch(r"succeeded +100% published +playable: [0-9 ]+", lines[-1])

    async def test_says_when_to_come_back_after_five_uploads(
        self, mainstay: Mainstay, addresses: dict[str, str]
    ) -> None:
        """One sentence with the seconds to wait instead of a traceback."""
        async with Mainstay(ratelimit=addresses["ratelimit"], tenant="demo") as demo:
            for _ in range(5):
                await VideoBackend(demo).admit("user-42", "basic")

        process = await start("backend", addresses)
        lines = await said(process)

        assert 1 == process.returncode
        assert re.fullmatch(
            r"refused    user-42 has used up the 5 uploads of plan basic; try again in \d+ s",
            lines[-1],
        )


class TestWithoutRedis:
    @pytest.fixture
    def redis_url(self, private_redis: RedisServer) -> str:
        """Give the services a Redis that may be stopped."""
        return private_redis.url

    @pytest.mark.usefixtures("worker_in_test")
    async def test_uploads_go_on(self, mainstay: Mainstay, private_redis: RedisServer) -> None:
        """Counted by the service itself, with the settings from their source."""
        await private_redis.stop()
        upload = await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)

        assert FailureMode.LOCAL is upload.limit.failure_mode
        assert not upload.settings.from_cache
        assert upload.job_id
