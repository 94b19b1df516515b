"""Each job type of the example app runs on the real services, and so do its schedules."""

import asyncio
import logging
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from examples.video_app.backend import Video, VideoBackend
from examples.video_app.fakes.pace import Pace
from examples.video_app.jobs.videos import CHUNKS
from examples.video_app.schedules import put_schedules
from examples.video_app.worker import build_worker
from mainstay import Mainstay
from mainstay.jobs import AcceptedEvent, Job, JobFilter, JobState
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.video_app.app_process import PATIENCE, said, start, worker_process

CHUNK_KEYS = {f"chunk-{number}" for number in range(CHUNKS)}
VIDEO = Video(
    video_id="video-1",
    creator_id="creator-7",
    source_url="https://uploads.example/video-1.mp4",
    duration_seconds=94.0,
    title="How bridges stand",
)


async def ended(mainstay: Mainstay, accepted: AcceptedEvent) -> Job:
    """Return the one job that an event has started, once it is over."""
    (job_id,) = accepted.job_ids
    return await mainstay.jobs.wait_for_job(job_id, timeout=PATIENCE)


async def once(mainstay: Mainstay, job_id: str, *, chunks: int) -> Job:
    """Return the job as soon as so many chunks are stored."""
    async with aclosing(mainstay.jobs.watch_job(job_id, timeout=PATIENCE)) as changes:
        async for job in changes:
            if len(chunk_keys(job)) >= chunks:
                return job
    raise AssertionError(f"job {job_id} ended with fewer than {chunks} chunks")


def chunk_keys(job: Job) -> set[str]:
    """Return which chunks are stored."""
    return {step.key for step in job.steps} & CHUNK_KEYS


async def jobs_of(mainstay: Mainstay, function: str, count: int) -> list[Job]:
    """Return the newest jobs of a function, the newest first, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = mainstay.jobs.list_jobs(JobFilter(function=function))
            jobs = [job async for job in found]
            if len(jobs) >= count:
                return jobs
            await asyncio.sleep(0.05)  # what is to come has no id yet that could be watched


@pytest.mark.usefixtures("worker_in_test")
class TestQuiz:
    async def test_is_written_by_a_child_for_each_chapter(self, mainstay: Mainstay) -> None:
        """All questions, though the model is busy at times, from the budget of who asked."""
        accepted = await VideoBackend(mainstay).request_quiz("user-1", "quiz-1", "video-1")

        quiz = await ended(mainstay, accepted)
        children = await jobs_of(mainstay, "write-chapter-questions", 1)
        usage = await mainstay.ratelimit.summarize_ai_usage(subject="user:user-1")

        assert JobState.SUCCEEDED is quiz.state
        assert 10 == sum(len(questions) for questions in quiz.result["questions"].values())
        assert [quiz.job_id] * len(quiz.result["questions"]) == [
            child.parent_job_id for child in children
        ]
        assert usage.total.calls - usage.total.failed_calls > len(children)

    async def test_is_one_however_often_it_is_asked_for(self, mainstay: Mainstay) -> None:
        """By the quiz's id, without an idempotency key from the caller."""
        backend = VideoBackend(mainstay)

        first, again = [await backend.request_quiz("user-1", "quiz-1", "video-1") for _ in range(2)]

        assert (1, first.job_ids) == (len(first.job_ids), again.job_ids)


@pytest.mark.usefixtures("worker_in_test")
class TestEmail:
    async def test_gets_through_the_greylist(self, mainstay: Mainstay) -> None:
        """Refused once, taken by the second attempt, and it does not come back."""
        job = await ended(mainstay, await VideoBackend(mainstay).welcome("ada@example.org"))

        assert (JobState.SUCCEEDED, 2) == (job.state, job.attempt)
        assert (["ada@example.org"], None) == (job.result["to"], job.result["bounced"])
        assert job.failure is not None
        assert "GreylistedError" == job.failure.kind

    async def test_tells_why_it_came_back(self, mainstay: Mainstay) -> None:
        """By the signal that a relay's webhook would send."""
        backend = VideoBackend(mainstay)
        accepted = await backend.welcome("nobody@example.org")
        await backend.mail_bounced(accepted.job_ids[0], "550 no such mailbox")

        job = await ended(mainstay, accepted)

        assert "550 no such mailbox" == job.result["bounced"]


@pytest.mark.usefixtures("worker_in_test")
class TestMembership:
    async def test_is_answered_by_a_greeting_and_a_plan(self, mainstay: Mainstay) -> None:
        """Two services react to the event; the trial's job waits for the member's decision."""
        backend = VideoBackend(mainstay)
        await jobs_functions(mainstay, {"greet-member", "ratelimit-assign-plan"})

        trial = await backend.change_membership("user-1", "pro", "trialing")
        await greeting_waits(mainstay, trial)
        await backend.change_membership("user-1", "pro", "active")
        results = [
            (await mainstay.jobs.wait_for_job(job_id, timeout=PATIENCE)).result
            for job_id in trial.job_ids
        ]
        plan = await mainstay.ratelimit.get_plan("user:user-1")

        assert ["membership-trialing"] in results
        assert {"subject": "user:user-1", "plan": "pro"} in results
        assert "pro" == plan.plan


async def jobs_functions(mainstay: Mainstay, names: set[str]) -> None:
    """Return once workers have declared these functions."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if names <= {each.name async for each in mainstay.jobs.list_functions()}:
                return
            await asyncio.sleep(0.05)  # the worker is another service's


async def greeting_waits(mainstay: Mainstay, accepted: AcceptedEvent) -> None:
    """Return once the greeting's job waits, which the plan's job never does."""
    async with aclosing(mainstay.jobs.watch_jobs(accepted.job_ids, timeout=PATIENCE)) as changes:
        async for job in changes:
            if job.state is JobState.WAITING:
                return


@pytest.mark.usefixtures("worker_in_test")
class TestSchedules:
    async def test_start_their_jobs(self, mainstay: Mainstay, postgres_url: str) -> None:
        """The nightly one adds up the day that its tick names, the weekly one plays all videos."""
        await put_schedules(mainstay.jobs)
        tick = await missed(postgres_url, "analytics-nightly", timedelta(hours=25))
        await missed(postgres_url, "content-health-weekly", timedelta(days=8))
        # Any change of a schedule has the ticks looked at.
        await mainstay.jobs.put_schedule("other", "0 0 1 1 *", function="check-content")

        day, *_ = await jobs_of(mainstay, "aggregate-day", 1)
        week, *_ = await jobs_of(mainstay, "check-content", 1)
        figures, report = [
            await mainstay.jobs.wait_for_job(job.job_id, timeout=PATIENCE) for job in (day, week)
        ]

        assert "analytics-nightly" == figures.schedule
        assert tick.date() <= datetime.fromisoformat(figures.result["date"]).date()
        assert {"views", "watch_time", "signups", "revenue", "quiz_scores"} == set(
            figures.result["totals"]
        )
        assert "content-health-weekly" == report.schedule
        assert {"checked": 8, "broken": ["stuck-4", "stuck-8"]} == report.result

    async def test_are_put_by_a_command(self, addresses: dict[str, str]) -> None:
        """What somebody sees who follows the README."""
        process = await start("schedules", addresses)
        lines = await said(process)

        assert 0 == process.returncode
        assert ["analytics-nightly", "content-health-weekly"] == [line.split()[0] for line in lines]
        assert " Mon " in lines[1]


async def missed(postgres_url: str, schedule: str, ago: timedelta) -> datetime:
    """Pretend that nobody has looked at a schedule for so long; returns since when, New York."""
    moment = datetime.now(UTC) - ago
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("SET mainstay.tenant = '*'")
        await connection.execute(
            "UPDATE jobs.schedules SET next_time = $2 WHERE name = $1", schedule, moment
        )
    finally:
        await connection.close()
    return moment.astimezone(ZoneInfo("America/New_York"))


class TestVideo:
    @pytest.fixture
    def pace(self) -> Pace:
        """Leave time to meet a video half done: a chunk takes up to a second."""
        return Pace(speed=10)

    async def test_goes_on_when_its_worker_is_killed(
        self,
        mainstay: Mainstay,
        addresses: dict[str, str],
        pace: Pace,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Another one makes the chunks that are missing, and only those."""
        caplog.set_level(logging.INFO, "mainstay.worker")
        async with worker_process(addresses, speed=pace.speed) as victim:
            upload = await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)
            killed = await once(mainstay, upload.job_id, chunks=3)
            victim.kill()
        async with running(build_worker(mainstay, addresses["jobs"], pace)):
            job = await mainstay.jobs.wait_for_job(upload.job_id, timeout=PATIENCE)
        made = {fields["step"] for fields in logged(caplog, "step stored")}

        assert (JobState.SUCCEEDED, 2) == (job.state, job.attempt)
        assert 3 <= len(chunk_keys(killed)) < CHUNKS
        assert {"probe", *chunk_keys(killed)} & made == set()
        assert {"thumbnails", "publish", "play"} < made

    @pytest.mark.usefixtures("worker_in_test")
    async def test_leaves_nothing_when_it_is_cancelled(self, mainstay: Mainstay) -> None:
        """Every chunk that was made is removed again, the last first."""
        upload = await VideoBackend(mainstay).upload("user-1", "basic", VIDEO)
        await once(mainstay, upload.job_id, chunks=3)

        await mainstay.jobs.cancel_job(upload.job_id, rollback=True, reason="taken back")
        job = await mainstay.jobs.wait_for_job(upload.job_id, timeout=PATIENCE)
        undone = {
            step.compensate_time: step.key for step in job.steps if step.compensate_time is not None
        }
        made = [step.key for step in job.steps if step.key in CHUNK_KEYS]

        assert JobState.CANCELLED is job.state
        assert made == [undone[time] for time in sorted(undone, reverse=True)]


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Return the facts of log lines that begin so."""
    return [vars(record) for record in caplog.records if record.getMessage().startswith(event)]
