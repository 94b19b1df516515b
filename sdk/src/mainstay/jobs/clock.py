"""The time that a worker's own waits go by."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and lets it pass; tests bring one of their own."""

    def now(self) -> datetime:
        """Return the time, with its zone."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class WallClock:
    """The time of this machine."""

    @staticmethod
    def now() -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)
