"""What another program wrote under our keys harms nobody."""

import redis.asyncio

from mainstay.cache.client import CacheClient
from services.cache.keys import entry_key, lease_key
from tests.integration.cache.conftest import TENANT

LEASE = lease_key(entry_key(TENANT, "video", "k"))


class TestWhereALeaseWouldLie:
    async def test_a_change_takes_place_once(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """It is removed like a lease, and nothing is left half done."""
        await cache.push("video", "k", [b"1"])
        await store.lpush(LEASE, "foreign")

        pushed = await cache.push("video", "k", [b"2"])

        assert 2 == pushed.length
        assert not await store.exists(LEASE)
