"""Callers of a cluster, and what they notice of what happens to it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from mainstay.errors import UnavailableError
from shared.redis.client import Redis
from tests.integration.shared.waiting import until

AMPLE = 5.0  # where nothing hangs, a busy machine must not look as if it did
MANY = [f"many-{n}" for n in range(300)]


@asynccontextmanager
async def connected(url: str, timeout: float = AMPLE) -> AsyncIterator[Redis]:  # noqa: ASYNC109
    """Connect within the block."""
    redis = Redis(url, timeout=timeout)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.close()


async def all_pages(pages: AsyncIterator[list[bytes]]) -> list[list[bytes]]:
    """Scan to the end."""
    return [page async for page in pages]


class Load:
    """Callers that ask for their own keys all the time, and note what they get."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tasks: list[asyncio.Task[None]] = []
        self.wrong: list[object] = []
        self.failed: list[tuple[str, str]] = []
        self.slowest = 0.0
        self.answered: Counter[str] = Counter()

    async def _ask(self, key: str) -> None:
        while True:
            began = time.monotonic()
            try:
                value = await self._redis.execute("GET", key)
                if value != key.encode():
                    self.wrong.append((key, value))
                self.answered[key] += 1
            except UnavailableError as error:
                self.failed.append((key, error.reason))
                await asyncio.sleep(0.01)
            self.slowest = max(self.slowest, time.monotonic() - began)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(key)) for key in MANY[:60]]
        await until(lambda: all(self.answered[key] for key in MANY[:60]))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}

    async def answers_every_key(self) -> None:
        """Wait until each has been answered once more."""
        before = Counter(self.answered)
        await until(lambda: all(self.answered[key] > before[key] for key in MANY[:60]))
