"""What the web handlers of a video platform do: limit, look up, hand over to a job.

Run it with a video id to upload that video and wait for its job:
`.venv/bin/python -m examples.video_app.backend video-1`.
"""

import asyncio
import json
import math
import sys
from dataclasses import dataclass, field

from examples.video_app.credentials import credentials_of_environment
from examples.video_app.jobs.emails import BOUNCED
from examples.video_app.tracing import configure_tracing
from mainstay import Mainstay, context
from mainstay.cache.client import Hit
from mainstay.errors import CacheError, RateLimitError
from mainstay.jobs import AcceptedEvent, Job, Progress
from mainstay.ratelimit.client import Decision

UPLOAD_ENDPOINT = "/api/videos/upload"
SETTINGS_NAMESPACE = "creator-settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video whose upload is complete."""

    video_id: str
    creator_id: str
    source_url: str
    duration_seconds: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatorSettings:
    """How a creator wants videos handled. `from_cache` says where this copy was found."""

    values: dict[str, str]
    from_cache: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload that was taken; the job processes the video from here on."""

    job_id: str
    event: AcceptedEvent
    limit: Decision
    settings: CreatorSettings


class NobodyProcessesVideosError(Exception):
    """The upload was taken, and nothing will become of it."""


@dataclass(slots=True)
class CreatorDirectory:
    """The slow source of truth that a cache is for; counts how often it was asked."""

    seconds: float = 0.15
    loads: int = field(default=0, init=False)

    async def load(self, creator_id: str) -> dict[str, str]:
        """Return the creator's settings, after as long as a busy database takes."""
        self.loads += 1
        await asyncio.sleep(self.seconds)
        return {"creator_id": creator_id, "watermark": "bottom-right", "language": "en"}


class VideoBackend:
    """The use cases of the platform, one method each."""

    def __init__(self, mainstay: Mainstay, directory: CreatorDirectory | None = None) -> None:
        self._mainstay = mainstay
        self._directory = directory or CreatorDirectory()

    async def upload(self, user: str, plan: str, video: Video) -> Upload:
        """Take an upload: within the user's plan, as its creator likes it, once.

        Raises RateLimitError with `retry_after` when the plan's uploads are used up.
        """
        limit = await self.admit(user, plan)
        settings = await self.creator_settings(video.creator_id)
        event = await self.start_processing(video, language=settings.values["language"])
        if not event.job_ids:
            raise NobodyProcessesVideosError(
                "no worker has declared what video/upload.completed starts; "
                "run .venv/bin/python -m examples.video_app.worker first"
            )
        return Upload(job_id=event.job_ids[0], event=event, limit=limit, settings=settings)

    async def admit(self, user: str, plan: str) -> Decision:
        """Count an upload of this user; a web handler copies `headers` into its answer."""
        decision = await self._mainstay.ratelimit.check(f"user:{user}", UPLOAD_ENDPOINT, plan=plan)
        if not decision.allowed:
            raise RateLimitError(
                f"{user} has used up the {decision.limit} uploads of plan {plan}",
                retry_after=decision.retry_after,
            )
        return decision

    async def creator_settings(self, creator_id: str) -> CreatorSettings:
        """Return the settings from the cache, or from the directory and into the cache."""
        cache = self._mainstay.cache
        try:
            found = await cache.get(SETTINGS_NAMESPACE, creator_id)
            if isinstance(found, Hit):
                return CreatorSettings(values=json.loads(found.value), from_cache=True)
            values = await self._directory.load(creator_id)
            await cache.set(
                SETTINGS_NAMESPACE,
                creator_id,
                json.dumps(values).encode(),
                ttl_class="creator_settings",
                content_type="application/json",
            )
        except CacheError:
            # A cache that is gone makes the platform slower, not wrong.
            values = await self._directory.load(creator_id)
        return CreatorSettings(values=values, from_cache=False)

    async def start_processing(self, video: Video, *, language: str) -> AcceptedEvent:
        """Send the event that starts the job; the same video again starts no second one."""
        return await self._mainstay.jobs.send_event(
            "video/upload.completed",
            {
                "video_id": video.video_id,
                "creator_id": video.creator_id,
                "source_url": video.source_url,
                "duration_seconds": video.duration_seconds,
                "title": video.title,
                "language": language,
            },
            idempotency_key=f"upload:{video.video_id}",
        )

    async def request_quiz(self, user: str, quiz_id: str, video_id: str) -> AcceptedEvent:
        """Have a quiz written; the same quiz again starts no second job."""
        return await self._mainstay.jobs.send_event(
            "quiz/generation.requested",
            {"quiz_id": quiz_id, "video_id": video_id, "requested_by": f"user:{user}"},
        )

    async def change_membership(self, user: str, plan: str, status: str) -> AcceptedEvent:
        """Tell everybody who wants to know that a membership has changed."""
        return await self._mainstay.jobs.send_event(
            "membership/updated", {"user_id": user, "plan": plan, "status": status}
        )

    async def welcome(self, address: str) -> AcceptedEvent:
        """Have a welcome message sent."""
        return await self._mainstay.jobs.send_event(
            "email/send", {"to": [address], "template": "welcome"}
        )

    async def mail_bounced(self, job_id: str, reason: str) -> None:
        """Tell the job that its message came back: the webhook of a relay would call this."""
        await self._mainstay.jobs.signal_job(job_id, BOUNCED, {"reason": reason})


async def main(video_id: str) -> int:
    """Upload one video, tell what becomes of it and return the exit status."""
    video = Video(
        video_id=video_id,
        creator_id="creator-7",
        source_url=f"https://uploads.example/{video_id}.mp4",
        duration_seconds=94.0,
        title="How bridges stand",
    )
    async with Mainstay.from_environment(
        tenant="demo", credentials=credentials_of_environment()
    ) as mainstay:
        with context.request() as request:
            print(f"request id {request.request_id}")
            try:
                upload = await VideoBackend(mainstay).upload("user-42", "basic", video)
            except RateLimitError as error:
                print(f"refused    {error.message}; try again in {_whole_seconds(error)} s")
                return 1
            print(f"job        {upload.job_id}, {upload.limit.remaining} uploads left this hour")
            shown = ""
            async for job in mainstay.jobs.watch_job(upload.job_id, timeout=300):
                if (line := _line(job)) != shown:
                    print(line)
                shown = line
    return 0


def _line(job: Job) -> str:
    """Return what a progress bar would show."""
    progress = job.progress or Progress(fraction=0.0, message="")
    shown = f"{job.state.value:<13} {progress.fraction:4.0%} {progress.message:<20}"
    ready = (progress.partial or {}).get("chunks_ready", [])
    playable = f"playable: {' '.join(map(str, ready))}" if ready else ""
    return f"{shown} {playable}".rstrip()


def _whole_seconds(error: RateLimitError) -> int:
    """Return the seconds to wait; rounded up, or the next try would come too early."""
    return math.ceil(error.retry_after or 0)


if __name__ == "__main__":
    configure_tracing("backend")
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "video-1")))
