"""How long fakes take, and how often they are busy."""

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from typing import Self

from mainstay.jobs import RetryAfterError

SPEED = "VIDEO_APP_SPEED"
SEED = "VIDEO_APP_SEED"
BUSY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What all fakes share: `speed` 10 makes ten seconds one, `seed` decides what is by chance."""

    speed: float = 1.0
    seed: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Read VIDEO_APP_SPEED and VIDEO_APP_SEED."""
        return cls(speed=float(os.environ.get(SPEED, "1")), seed=int(os.environ.get(SEED, "1")))

    def seconds(self, seconds: float) -> float:
        """Return how long so many seconds take at this speed."""
        return seconds / self.speed


class Fake:
    """A service that is not there; what it answers depends on the seed and the call alone."""

    def __init__(self, name: str, pace: Pace) -> None:
        self.pace = pace
        self._name = name
        self._tries: Counter[str] = Counter()

    async def work(
        self, call: str, *, seconds: tuple[float, float], busy: float = 0.0
    ) -> random.Random:
        """Take so long, at least and at most; return the dice for the answer.

        With the probability `busy` the try fails with RetryAfterError, as the client of a real
        service would make it from a 429. Each try of a call has its own fate.
        """
        self._tries[call] += 1
        fate = self._dice(f"{call} {self._tries[call]}")
        await asyncio.sleep(self.pace.seconds(fate.uniform(*seconds)))
        if fate.random() < busy:
            raise self._later(f"busy with {call}", BUSY_SECONDS)
        del self._tries[call]
        return self._dice(call)

    def _dice(self, what: str) -> random.Random:
        return random.Random(f"{self.pace.seed} {self._name} {what}")

    def _later(self, reason: str, seconds: float) -> RetryAfterError:
        return RetryAfterError(
            f"the fake {self._name} is {reason}", seconds=self.pace.seconds(seconds)
        )
