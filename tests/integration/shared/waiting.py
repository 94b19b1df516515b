"""Waiting for what gives no signal of its own."""

import asyncio
from collections.abc import Callable

PATIENCE = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Let others run until it holds, or fail."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
