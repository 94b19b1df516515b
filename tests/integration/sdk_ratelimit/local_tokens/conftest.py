"""A spender of shares, and a service that takes back whatever is returned."""

from collections.abc import AsyncIterator

import pytest

from mainstay.ratelimit import LocalTokens, RateLimitClient
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.local_tokens.granted_shares import ENDPOINT, SUBJECT
from tests.integration.sdk_ratelimit.scripted_limits import ScriptedLimits


@pytest.fixture(autouse=True)
def returning(peer: ScriptedLimits) -> None:
    """Take back whatever is returned."""
    peer.answer("ReturnTokens", pb.ReturnTokensResponse(returned=1))


@pytest.fixture
async def tokens(limits: RateLimitClient) -> AsyncIterator[LocalTokens]:
    """Return a spender that holds ten at most."""
    async with limits.local_tokens(SUBJECT, ENDPOINT, share=10) as spender:
        yield spender
