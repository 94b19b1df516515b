"""How targets were, at hand for pages: read from the store each minute, never by a reader."""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from services.health.database import FAILURES
from services.health.history import History, Incident

INTERVAL = 60.0
RETRY_AFTER = 5.0
INCIDENTS = 100
"""More than a page shows: several may be one outage."""

log = structlog.get_logger()


class Histories(Protocol):
    """Tells how many targets were at once. Raises DatabaseError."""

    async def histories(self, targets: Collection[str]) -> Mapping[str, History]:
        """Return the history of each."""
        ...

    async def newest_incidents(self, targets: Collection[str], limit: int) -> Sequence[Incident]:
        """Return the newest incidents of all of them together."""
        ...


class HistoryBook:
    """What was last read; it stays while the store does not answer.

    Attributes:
        current: The history of each target, and of `suite`; empty before the first reading.
        incidents: The newest of all targets, the newest first.

    """

    def __init__(
        self,
        store: Histories,
        targets: Callable[[], Collection[str]],
        *,
        interval: float = INTERVAL,
    ) -> None:
        self._store = store
        self._targets = targets
        self._interval = interval
        self.current: Mapping[str, History] = {}
        self.incidents: Sequence[Incident] = ()

    async def load_once(self) -> None:
        """Read all; raises DatabaseError."""
        targets = self._targets()
        current = await self._store.histories(targets)
        self.incidents = await self._store.newest_incidents(targets, INCIDENTS)
        self.current = current

    async def run(self) -> None:
        """Read again and again; for a background task, which must not end."""
        pause = RETRY_AFTER
        while True:
            try:
                await self.load_once()
                pause = self._interval
            except FAILURES as error:
                if pause == self._interval:
                    log.warning("history_not_read", error=str(error))
                    pause = RETRY_AFTER
                else:
                    pause = min(pause * 2, self._interval / 2)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
