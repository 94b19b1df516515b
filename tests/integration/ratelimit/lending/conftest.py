"""Replicas that lend places and shares, on a real Redis."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.ratelimit.lending.lender import Lender, lender


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close what a test opened, last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def here(redis_url: str, stack: AsyncExitStack) -> Lender:
    """One replica."""
    return await stack.enter_async_context(lender(redis_url))


@pytest.fixture
async def there(redis_url: str, stack: AsyncExitStack) -> Lender:
    """Another one."""
    return await stack.enter_async_context(lender(redis_url))


@pytest.fixture
async def elsewhere(redis_url: str, stack: AsyncExitStack) -> Lender:
    """One that is called in the name of another tenant."""
    return await stack.enter_async_context(lender(redis_url, tenant="globex"))
