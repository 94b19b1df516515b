"""Stands in for a media library: takes a moment, and gives the same answer every time."""

import asyncio
import zlib
from typing import TypedDict

# Seconds of work per step; a real transcoder takes minutes, the worker does not care.
PROBE_SECONDS = 0.05
TRANSCODE_SECONDS = 0.3
THUMBNAIL_SECONDS = 0.1


class Probe(TypedDict):
    """What is known of a file before anything is done to it."""

    duration_seconds: float
    width: int
    height: int


async def probe(source_url: str, duration_seconds: float) -> Probe:
    """Look into the file; portrait or landscape depends on its address."""
    await asyncio.sleep(PROBE_SECONDS)
    landscape = zlib.crc32(source_url.encode()) % 2 == 0
    width, height = (1920, 1080) if landscape else (1080, 1920)
    return Probe(duration_seconds=duration_seconds, width=width, height=height)


async def transcode(video_id: str, probe: Probe) -> dict[str, str]:
    """Return the address of each rendition, by the length of its shorter side."""
    await asyncio.sleep(TRANSCODE_SECONDS)
    short_side = min(probe["width"], probe["height"])
    return {
        f"{lines}p": f"https://media.example/{video_id}/{lines}.m3u8"
        for lines in (360, 720, 1080)
        if lines <= short_side
    }


async def thumbnails(video_id: str, probe: Probe) -> list[str]:
    """Return the addresses of three pictures, a quarter of the video apart."""
    await asyncio.sleep(THUMBNAIL_SECONDS)
    moments = [probe["duration_seconds"] * quarter / 4 for quarter in (1, 2, 3)]
    return [f"https://media.example/{video_id}/{moment:.0f}.jpg" for moment in moments]
