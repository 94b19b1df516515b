"""What the tests of the rate limit SDK share."""

from collections.abc import AsyncIterator

import pytest

from mainstay.channel import Channel
from mainstay.ratelimit import RateLimitClient
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits, scripted_limits

TENANT = "acme"


@pytest.fixture
async def peer() -> AsyncIterator[ScriptedLimits]:
    """Serve what this test says."""
    async with scripted_limits() as service:
        yield service


@pytest.fixture
async def limits(peer: ScriptedLimits) -> AsyncIterator[RateLimitClient]:
    """Return a client of the scripted service, as the tenant `acme`."""
    async with Channel(peer.address, tenant=TENANT) as channel, RateLimitClient(channel) as client:
        yield client
