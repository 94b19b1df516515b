"""What page views read: the metadata of published videos, in the cache."""

import json
from dataclasses import asdict, dataclass
from typing import Protocol

from mainstay import Mainstay

METADATA_NAMESPACE = "video-metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMetadata:
    """A video that can be watched."""

    video_id: str
    title: str
    duration_seconds: float
    width: int
    height: int
    chunks: list[str]
    thumbnails: list[str]


class Catalogue(Protocol):
    """Shows videos to viewers and takes them away again; both may be repeated."""

    async def publish(self, metadata: VideoMetadata) -> str:
        """Show a video; return its id."""

    async def withdraw(self, video_id: str) -> None:
        """Show it no longer."""


class CachedCatalogue:
    """The catalogue where every page view looks first."""

    def __init__(self, mainstay: Mainstay) -> None:
        self._cache = mainstay.cache

    async def publish(self, metadata: VideoMetadata) -> str:
        """Show a video; return its id."""
        await self._cache.set(
            METADATA_NAMESPACE,
            metadata.video_id,
            json.dumps(asdict(metadata)).encode(),
            ttl_class="video_metadata",
            content_type="application/json",
        )
        return metadata.video_id

    async def withdraw(self, video_id: str) -> None:
        """Show it no longer."""
        await self._cache.delete(METADATA_NAMESPACE, video_id)
