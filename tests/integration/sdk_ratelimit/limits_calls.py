"""Calls of the client that are written down first and made later."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from mainstay.ratelimit import RateLimitClient

Call = Callable[[RateLimitClient], Awaitable[Any]]

WHEN = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
AI = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}


async def every(listing: Any) -> list[Any]:
    return [each async for each in listing]


def call(name: str, *arguments: Any, **named: Any) -> Call:
    async def make(limits: RateLimitClient) -> Any:
        return await getattr(limits, name)(*arguments, **named)

    return make


def listing(name: str, **named: Any) -> Call:
    async def read(limits: RateLimitClient) -> Any:
        return await every(getattr(limits, name)(**named))

    return read
