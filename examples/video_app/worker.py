"""What runs in the background of a video platform: a worker with all of its functions.

Run it with `.venv/bin/python -m examples.video_app.worker`.
"""

import asyncio
import os

from examples.video_app.catalogue import CachedCatalogue
from examples.video_app.credentials import credentials_of_environment
from examples.video_app.fakes.ai import FakeModel
from examples.video_app.fakes.mail import FakeRelay
from examples.video_app.fakes.media import FakeMedia
from examples.video_app.fakes.pace import Pace
from examples.video_app.fakes.warehouse import FakeWarehouse
from examples.video_app.jobs import (
    analytics,
    content_health,
    emails,
    memberships,
    quizzes,
    videos,
)
from examples.video_app.logs import configure_logs
from examples.video_app.tracing import configure_tracing
from mainstay import Credentials, Mainstay, Worker
from mainstay.client import DEFAULT_ADDRESSES


def build_worker(
    mainstay: Mainstay, jobs_address: str, pace: Pace, credentials: Credentials | None = None
) -> Worker:
    """Return a worker for the jobs of every tenant; its steps use the other services."""
    worker = Worker(
        jobs_address, name="video-worker", tenant="*", concurrency=20, credentials=credentials
    )
    media, warehouse = FakeMedia(pace), FakeWarehouse(pace)
    videos.register(worker, media, CachedCatalogue(mainstay))
    quizzes.register(worker, quizzes.QuizWriter(FakeModel(pace), mainstay.ratelimit))
    emails.register(worker, FakeRelay(pace))
    memberships.register(worker)
    analytics.register(worker, warehouse)
    content_health.register(worker, media, warehouse)
    return worker


async def main() -> None:
    """Work until SIGTERM or Ctrl-C."""
    jobs_address = os.environ.get("MAINSTAY_JOBS_ADDRESS", DEFAULT_ADDRESSES["jobs"])
    credentials = credentials_of_environment()
    async with Mainstay.from_environment(credentials=credentials) as mainstay:
        worker = build_worker(mainstay, jobs_address, Pace.from_environment(), credentials)
        await worker.run_until_signal()


if __name__ == "__main__":
    configure_logs("worker")
    configure_tracing("worker")
    asyncio.run(main())
