"""Who asks for what, and the wait until that is on record."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

SUBJECT, CHAT = "user:42", "/api/chat"
PATIENCE = 20.0

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> T:
    """Ask until what is recorded in the background is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            told = await ask()
            if enough(told):
                return told
            await asyncio.sleep(0.1)
