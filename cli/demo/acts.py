"""What a backend does with the suite, one act for each service."""

import json
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cli.credentials import https_context
from cli.demo.evidence import until
from cli.demo.stage import Stage
from cli.probe import HTTP_OK, http_get
from examples.video_app.backend import Video, VideoBackend
from mainstay import Mainstay, request
from mainstay.cache.client import Hit, Miss
from mainstay.context import RequestContext
from mainstay.errors import ValidationError
from mainstay.health import Report, State
from mainstay.jobs import Job, JobState

ENDPOINT = "/api/quiz/generate"
PLAN = "basic"
TARGETS = {"cache", "ratelimit", "jobs", "redis", "database"}
JOB_TIMEOUT = 15.0
HEALTHY_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What every act needs: clients, the stage, and a name that no other run of the demo has."""

    mainstay: Mainstay
    stage: Stage
    run: str
    request: RequestContext

    @property
    def backend(self) -> VideoBackend:
        return VideoBackend(self.mainstay)

    def video(self, name: str) -> Video:
        return Video(
            video_id=f"{name}-{self.run}",
            creator_id=f"creator-{self.run}",
            source_url=f"https://uploads.example/{name}-{self.run}.mp4",
            duration_seconds=95.0,
            title="How a request travels",
        )


async def limited(scene: Scene) -> None:
    """Use up a limit, be denied, and see that looking costs nothing."""
    limits, stage = scene.mainstay.ratelimit, scene.stage
    subject = f"user:{scene.run}"
    before = await limits.peek(subject, ENDPOINT, plan=PLAN)
    again = await limits.peek(subject, ENDPOINT, plan=PLAN)
    limit = before.limit or 0
    stage.claim(
        f"peek twice: {before.remaining} of {limit} left both times",
        holds=before.remaining == again.remaining == limit > 0,
    )
    decisions = [await limits.check(subject, ENDPOINT, plan=PLAN) for _ in range(limit)]
    stage.claim(
        f"{limit} checks allowed for plan {PLAN} on {ENDPOINT}",
        holds=all(decision.allowed for decision in decisions),
    )
    denied = await limits.check(subject, ENDPOINT, plan=PLAN)
    stage.claim(
        f"check {limit + 1} denied: retry after {denied.retry_after or 0:,.0f} s",
        holds=not denied.allowed and bool(denied.retry_after),
    )
    names = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit-policy")
    shown = {name: denied.headers.get(name, "") for name in names}
    stage.claim(
        "headers to copy: " + ", ".join(f"{name}: {value}" for name, value in shown.items()),
        holds=all(shown.values()),
    )


async def cached(scene: Scene) -> None:
    """Miss, write, hit; and nobody else's hit."""
    cache, stage, key = scene.mainstay.cache, scene.stage, f"video-{scene.run}"
    miss = await cache.get("video", key)
    stage.claim("get: a miss, which is an answer", holds=isinstance(miss, Miss))
    value = b"how a request travels " * 50
    written = await cache.set("video", key, value, ttl_class="video_metadata")
    lives = written.expire_time - datetime.now(UTC) if written.expire_time else timedelta()
    stage.claim(
        f"set by class video_metadata: lives for {lives.total_seconds() / 60:.0f} min",
        holds=lives > timedelta(minutes=1),
    )
    hit = await cache.get("video", key)
    stage.claim(
        f"get: a hit, the same {len(value)} bytes",
        holds=isinstance(hit, Hit) and hit.value == value,
    )
    with request(request_id=scene.request.request_id, tenant="somebody-else"):
        foreign = await cache.get("video", key)
    stage.claim("the same key for another tenant: a miss", holds=isinstance(foreign, Miss))


async def refused(scene: Scene) -> None:
    """Send an event that breaks its schema."""
    broken = replace(scene.video("refused"), duration_seconds=-1)
    try:
        await scene.backend.start_processing(broken, language="en")
    except ValidationError as error:
        field, mistake = next(iter(error.fields.items()), ("", ""))
        scene.stage.claim(
            f"{error.code.name} at {field}: {mistake}", holds="/duration_seconds" in field
        )
        scene.stage.claim(
            f"the error carries the request id …{error.request_id[-8:]}",
            holds=error.request_id == scene.request.request_id,
        )
    else:
        scene.stage.claim("an event that breaks its schema is refused", holds=False)


async def durable(scene: Scene) -> None:
    """Upload a video as a backend does, and watch its job to the end."""
    stage, video = scene.stage, scene.video("durable")
    upload = await scene.backend.upload(scene.run, PLAN, video)
    stage.claim(
        f"upload taken: {upload.limit.remaining} left, {len(upload.event.job_ids)} job started",
        holds=len(upload.event.job_ids) == 1,
    )
    seen: list[Job] = []
    watch = scene.mainstay.jobs.watch_job(upload.job_id, timeout=JOB_TIMEOUT)
    async with aclosing(watch) as changes:
        async for job in changes:
            _narrate(stage, job, seen[-1] if seen else None)
            seen.append(job)
    last = seen[-1]
    stage.claim(
        f"{last.state.value}: {len(last.steps)} steps, each stored as it ended",
        holds=last.state is JobState.SUCCEEDED and len(last.steps) > 1,
    )
    stage.claim(
        f"the job keeps the request id …{last.request_id[-8:]}",
        holds=last.request_id == scene.request.request_id,
    )
    again = await scene.backend.upload(scene.run, PLAN, video)
    stage.claim(
        "the same upload again: settings from the cache, and the same job",
        holds=again.settings.from_cache and again.event.duplicate and again.job_id == upload.job_id,
    )


def _narrate(stage: Stage, job: Job, before: Job | None) -> None:
    """Print what is new in this revision."""
    if before is None or job.state is not before.state:
        attempt = f", attempt {job.attempt} of {job.max_attempts}" if job.attempt else ""
        stage.say(f"{job.state.value}{attempt}")
    if stored := [step.key for step in job.steps[len(before.steps) if before else 0 :]]:
        stage.say(f"stored: {', '.join(stored)}")
    if job.progress and (before is None or job.progress != before.progress):
        stage.say(f"{job.progress.fraction:.0%} {job.progress.message}")


async def healthy(scene: Scene, http_address: str) -> None:
    """Ask how the suite is, over gRPC and over HTTP."""
    report: Report = await until(
        scene.mainstay.health.get_report,
        lambda report: report.state is State.HEALTHY,
        seconds=HEALTHY_TIMEOUT,
    )
    checks = ", ".join(f"{check.name} {check.state}" for check in report.checks)
    scene.stage.claim(
        f"the suite is {report.state}: {checks}",
        holds=report.state is State.HEALTHY and {check.name for check in report.checks} >= TARGETS,
    )
    status, body = await http_get(http_address, "/health", tls=https_context())
    document = json.loads(body) if status == HTTP_OK else {}
    scene.stage.claim(
        f"GET /health: {status} {document.get('status', '')}",
        holds=status == HTTP_OK and document.get("status") == "healthy",
    )
