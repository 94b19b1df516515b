"""A computation that begins and ends when a test says so."""

import asyncio

from mainstay.cache import Computed, Nothing

PATIENCE = 10.0


class SlowComputation:
    """Gives `outcome`, or raises it, once `finish` was called; may be run many times."""

    def __init__(
        self, outcome: bytes | Computed | Nothing | Exception, *, done: bool = False
    ) -> None:
        self.outcome = outcome
        self.times = 0
        self.cancelled = False
        self._begun = asyncio.Condition()
        self._end = asyncio.Event()
        if done:
            self.finish()

    async def __call__(self) -> bytes | Computed | Nothing:
        """Wait for `finish`, then give the outcome."""
        async with self._begun:
            self.times += 1
            self._begun.notify_all()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def begun(self, times: int = 1) -> None:
        """Wait until it has begun so often."""
        async with asyncio.timeout(PATIENCE), self._begun:
            await self._begun.wait_for(lambda: self.times >= times)

    def finish(self) -> None:
        """Let it end."""
        self._end.set()
