"""An upload becomes something that can be watched, or leaves nothing behind."""

from dataclasses import dataclass
from functools import partial

from examples.video_app.catalogue import Catalogue, VideoMetadata
from examples.video_app.fakes.media import Chunk, FakeMedia, Probe
from mainstay.jobs import JobContext, Worker

CHUNKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The payload of `video/upload.completed`, as far as it matters here."""

    video_id: str
    source_url: str
    duration_seconds: float
    title: str = ""


def register(worker: Worker, media: FakeMedia, catalogue: Catalogue) -> None:
    """Add `process-video`."""

    @worker.function(
        "process-video",
        on="video/upload.completed",
        concurrency=5,
        retries=2,
        timeout=2 * 3600,
        hang_timeout=600,
    )
    async def process_video(job: JobContext, upload: Upload) -> VideoMetadata:
        """Probe, transcode in parallel, cut thumbnails, publish, and look whether it plays.

        Each step's result is stored before the next begins: should the worker die, another goes on
        from there. Should the video turn out not to play, all that was made is removed again, the
        last first.
        """
        video_id = upload.video_id
        probe = await job.step.run(
            "probe", media.probe, upload.source_url, upload.duration_seconds, retries=2
        )
        await job.progress(0.1, "transcoding")
        chunks = await _transcode(job, media, video_id)
        await job.progress(0.8, "cutting thumbnails")
        thumbnails = await job.step.run(
            "thumbnails", media.thumbnails, video_id, probe, compensate=media.delete_thumbnails
        )
        await job.progress(0.9, "publishing")
        metadata = _metadata(upload, probe, chunks, thumbnails)
        await job.step.run("publish", catalogue.publish, metadata, compensate=catalogue.withdraw)
        await job.step.run("play", media.play, video_id, retries=2)
        await job.progress(1.0, "published")
        return metadata


async def _transcode(job: JobContext, media: FakeMedia, video_id: str) -> list[Chunk]:
    in_hand: set[int] = set()

    async def transcode(number: int) -> Chunk:
        in_hand.add(number)
        chunk = await media.transcode(video_id, number)
        in_hand.discard(number)
        # All chunks run at once. So one that is not in hand is ready, also if a worker before this
        # one has made it.
        ready = [each for each in range(CHUNKS) if each not in in_hand]
        await job.progress(
            0.1 + 0.7 * len(ready) / CHUNKS,
            f"{len(ready)} of {CHUNKS} chunks",
            partial={"chunks_ready": ready},
        )
        return chunk

    chunks = await job.step.parallel(
        {f"chunk-{number}": partial(transcode, number) for number in range(CHUNKS)},
        at_once=CHUNKS,
        compensate=media.delete_chunk,
        retries=3,
        timeout=600,
    )
    return list(chunks.values())


def _metadata(
    upload: Upload, probe: Probe, chunks: list[Chunk], thumbnails: list[str]
) -> VideoMetadata:
    return VideoMetadata(
        video_id=upload.video_id,
        title=upload.title,
        duration_seconds=probe.duration_seconds,
        width=probe.width,
        height=probe.height,
        chunks=[chunk.url for chunk in chunks],
        thumbnails=thumbnails,
    )
