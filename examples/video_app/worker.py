"""What runs in the background of a video platform.

Run it with `.venv/bin/python -m examples.video_app.worker`.
"""

import asyncio
import json
import os

from examples.video_app import media
from examples.video_app.logs import configure_logs
from examples.video_app.tracing import configure_tracing
from mainstay import Mainstay, Worker
from mainstay.client import DEFAULT_ADDRESSES
from mainstay.jobs import JobContext, JsonValue

METADATA_NAMESPACE = "video-metadata"


def build_worker(mainstay: Mainstay, jobs_address: str) -> Worker:
    """Return a worker for the jobs of every tenant; its steps use the other services."""
    worker = Worker(jobs_address, name="video-worker", tenant="*", concurrency=10)

    @worker.function("process-video", trigger="video/upload.completed", max_attempts=3)
    async def process_video(job: JobContext) -> JsonValue:
        """Turn an upload into something that can be watched.

        Each step's result is stored before the next begins. Should the worker die in between,
        another goes on after the last finished step.
        """
        video_id = job.data["video_id"]
        probe = await job.step.run(
            "probe", media.probe, job.data["source_url"], job.data["duration_seconds"]
        )
        await job.progress(0.1, "transcoding")
        renditions = await job.step.run("transcode", media.transcode, video_id, probe)
        await job.progress(0.7, "cutting thumbnails")
        thumbnails = await job.step.run("thumbnails", media.thumbnails, video_id, probe)
        await job.progress(0.9, "publishing")
        metadata = {
            "video_id": video_id,
            "title": job.data.get("title", ""),
            "duration_seconds": probe["duration_seconds"],
            "renditions": renditions,
            "thumbnails": thumbnails,
        }
        await job.step.run("publish", publish, mainstay, video_id, metadata)
        return metadata

    @worker.function("send-email", trigger="email/send", initial_backoff=0.2)
    async def send_email(job: JobContext) -> JsonValue:
        """Send a message through a relay that hangs up on every first attempt."""
        if job.attempt == 1:
            raise ConnectionResetError("the mail relay hung up")
        return {"sent_to": job.data["to"], "attempt": job.attempt}

    return worker


async def publish(mainstay: Mainstay, video_id: str, metadata: JsonValue) -> None:
    """Put the metadata where every page view looks first; repeating it changes nothing."""
    await mainstay.cache.set(
        METADATA_NAMESPACE,
        video_id,
        json.dumps(metadata).encode(),
        ttl_class="video_metadata",
        content_type="application/json",
    )


async def main() -> None:
    """Work until SIGTERM or Ctrl-C."""
    jobs_address = os.environ.get("MAINSTAY_JOBS_ADDRESS", DEFAULT_ADDRESSES["jobs"])
    async with Mainstay.from_environment() as mainstay:
        await build_worker(mainstay, jobs_address).run_until_signal()


if __name__ == "__main__":
    configure_logs("worker")
    configure_tracing("worker")
    asyncio.run(main())
