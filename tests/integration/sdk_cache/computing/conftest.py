"""A peer that lends to whoever asks."""

import pytest

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.integration.sdk_cache.scripted_cache import (
    STORED,
    ScriptedCache,
    leased,
)


@pytest.fixture
def lending(peer: ScriptedCache) -> ScriptedCache:
    """Let the peer lend a lease to whoever asks, and store what it is given."""
    peer.answer("GetOrLease", leased())
    peer.answer("Fill", STORED)
    peer.answer("Abandon", pb.AbandonResponse(held=True))
    return peer
