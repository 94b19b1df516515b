"""A fake media farm: probes, transcodes and plays videos that nobody has ever seen."""

from dataclasses import dataclass

from examples.video_app.fakes.pace import Fake, Pace
from mainstay.jobs import NonRetryableError


class NotAVideoError(NonRetryableError):
    """The file is none that any try could make a video of."""


class DoesNotPlayError(NonRetryableError):
    """What was published stops in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is known of a file before anything is done to it."""

    duration_seconds: float
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of the video that can be played by itself."""

    number: int
    url: str
    kilobytes: int


class FakeMedia(Fake):
    """The farm. Give a video a name with `broken` in it, and it is none; `stuck`, and it stops."""

    def __init__(self, pace: Pace) -> None:
        super().__init__("media farm", pace)

    async def probe(self, source_url: str, duration_seconds: float) -> Probe:
        """Look into the file; chance decides how it was held."""
        dice = await self.work(f"probing {source_url}", seconds=(0.5, 1.0))
        if "broken" in source_url:
            raise NotAVideoError(f"{source_url} is no video")
        width, height = dice.choice([(1920, 1080), (1080, 1920)])
        return Probe(duration_seconds=duration_seconds, width=width, height=height)

    async def transcode(self, video_id: str, number: int) -> Chunk:
        """Take seconds for one chunk; every tenth time the farm is busy."""
        call = f"chunk {number} of {video_id}"
        dice = await self.work(call, seconds=(3.0, 10.0), busy=0.1)
        return Chunk(
            number=number,
            url=f"https://media.example/{video_id}/chunk-{number}.mp4",
            kilobytes=dice.randint(800, 4_000),
        )

    async def thumbnails(self, video_id: str, probe: Probe) -> list[str]:
        """Return the addresses of three pictures, a quarter of the video apart."""
        await self.work(f"thumbnails of {video_id}", seconds=(1.0, 2.0))
        moments = [probe.duration_seconds * quarter / 4 for quarter in (1, 2, 3)]
        return [f"https://media.example/{video_id}/{moment:.0f}.jpg" for moment in moments]

    async def delete_chunk(self, chunk: Chunk) -> None:
        """Remove a chunk; a second time changes nothing."""
        await self.work(f"removing {chunk.url}", seconds=(0.1, 0.3))

    async def delete_thumbnails(self, urls: list[str]) -> None:
        """Remove pictures; a second time changes nothing."""
        await self.work(f"removing {urls}", seconds=(0.1, 0.3))

    async def play(self, video_id: str) -> float:
        """Play a published video as a viewer would; return the seconds until the first picture."""
        dice = await self.work(f"playing {video_id}", seconds=(0.3, 1.0))
        if "stuck" in video_id:
            raise DoesNotPlayError(f"{video_id} stops in the middle")
        return round(dice.uniform(0.1, 0.4), 3)
