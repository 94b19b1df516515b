"""Work that takes seconds, one at a time."""

import asyncio

from mainstay.errors import UnavailableError

MAX_WAITING = 4
RETRY_AFTER = 5.0


class Turns:
    """Lets one caller at a time do something; some wait, as long as their calls may, others go.

    `doing` is what is done, for the message.
    """

    def __init__(self, doing: str, *, max_waiting: int = MAX_WAITING) -> None:
        self._doing = doing
        self._max_waiting = max_waiting
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def take(self) -> None:
        """Wait for a turn; raises UnavailableError (`OVERLOADED`) when too many wait already."""
        if self._waiting >= self._max_waiting:
            raise UnavailableError(
                f"{self._waiting} calls wait for {self._doing} already, which is done for one at a "
                f"time; try again after {RETRY_AFTER:g} s or on another replica",
                reason="OVERLOADED",
                retry_after=RETRY_AFTER,
            )
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        """End a turn."""
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_error: object) -> None:
        self.give_back()
