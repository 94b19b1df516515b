"""Once a week every published video is played; nobody sends an event for that."""

from dataclasses import dataclass
from functools import partial

from examples.video_app.fakes.media import DoesNotPlayError, FakeMedia
from examples.video_app.fakes.warehouse import FakeWarehouse
from mainstay.jobs import JobContext, Worker

CHECK_CONTENT = "check-content"
OPERATORS = "operators@videos.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentReport:
    """How many videos were played, and which of them did not."""

    checked: int
    broken: list[str]


def register(worker: Worker, media: FakeMedia, warehouse: FakeWarehouse) -> None:
    """Add `check-content`."""

    async def plays(video_id: str) -> bool:
        try:
            await media.play(video_id)
        except DoesNotPlayError:
            return False
        return True

    @worker.function(CHECK_CONTENT, concurrency=1, priority=-50)
    async def check_content(job: JobContext) -> ContentReport:
        """Play a few at a time; tell the operators if there is something to repair."""
        videos = await job.step.run("videos", warehouse.published_videos, retries=2)
        verdicts = await job.step.parallel(
            {f"play {video_id}": partial(plays, video_id) for video_id in videos}, at_once=4
        )
        broken = [video_id for video_id in videos if not verdicts[f"play {video_id}"]]
        if broken:
            await job.step.send_event(
                "tell",
                "email/send",
                {
                    "to": [OPERATORS],
                    "template": "videos-do-not-play",
                    "variables": {"videos": ", ".join(broken)},
                },
            )
        return ContentReport(checked=len(videos), broken=broken)
