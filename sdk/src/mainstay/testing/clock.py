"""A clock that stands still until somebody sleeps."""

import asyncio
import itertools
from bisect import insort
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Time that passes at once when it is slept, from midnight of 1 January 2026 unless told."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._passed = 0.0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int]] = []

    @property
    def passed(self) -> float:
        """How many seconds have passed."""
        return self._passed

    def now(self) -> datetime:
        """Return the time."""
        return self._start + timedelta(seconds=self._passed)

    def copy(self) -> "FakeClock":
        """Return a clock of its own that shows the same time."""
        clock = FakeClock(self._start)
        clock.advance_to(self._passed)
        return clock

    def advance_to(self, passed: float) -> None:
        """Let time pass until so many seconds have; never back."""
        self._passed = max(self._passed, passed)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass; of several who sleep, whoever is due first wakes first."""
        me = (self._passed + max(seconds, 0.0), next(self._numbers))
        insort(self._sleepers, me)
        try:
            # Those who go to sleep in the same turn of the loop come first, if they are due first.
            await asyncio.sleep(0)
            while self._sleepers[0] != me:  # noqa: ASYNC110 - no time passes but here
                await asyncio.sleep(0)
            self.advance_to(me[0])
        finally:
            self._sleepers.remove(me)
