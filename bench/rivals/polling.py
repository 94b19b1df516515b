"""Waiting until a rival's store has nothing left to acknowledge."""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_EVERY = 0.01


async def until_none(count: Callable[[], Awaitable[int]]) -> None:
    """Return once the count is 0."""
    while await count():  # noqa: ASYNC110 - other processes set no event of ours
        await asyncio.sleep(LOOK_EVERY)
