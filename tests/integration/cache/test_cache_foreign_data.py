"""What another program wrote under our keys harms nobody."""

import pytest
import redis.asyncio

from mainstay.cache.client import CacheClient, Hit
from services.cache.keys import entry_key, lease_key, tenant_key
from tests.integration.cache.conftest import TENANT, ServeCache

LEASE = lease_key(entry_key(TENANT, "video", "k"))


class TestWhereAHistoryWouldLie:
    @pytest.mark.parametrize(
        "head", [b"ab-99999999999999999999999", b"ab-9999999999999999", b"ab-", b"\xff", b"ab-0"]
    )
    async def test_a_head_that_nobody_could_count_on_from(
        self, cache: CacheClient, store: "redis.asyncio.Redis", head: bytes
    ) -> None:
        """A history begins anew, which costs what was cached and nothing else."""
        await store.set(tenant_key(TENANT, "head"), head)
        await store.hset(tenant_key(TENANT, "epochs"), mapping={b"epoch": b"ab", b"\xff": b"x"})

        await cache.set("video", "k", b"v", tags=["t"])
        written = await cache.get("video", "k")
        await cache.invalidate_tags(["t"])
        found = await cache.get("video", "k")

        assert (True, False) == (isinstance(written, Hit), isinstance(found, Hit))

    async def test_marks_and_books_that_are_none(
        self,
        cache: CacheClient,
        store: "redis.asyncio.Redis",
        redis_url: str,
        serve_cache: ServeCache,
    ) -> None:
        """What cannot be read is passed over, or counts as invalidated up to now."""
        await cache.set("video", "k", b"v")
        await store.hset(
            tenant_key(TENANT, "epochs"), mapping={b"\xff": b"x", b"t:\xff": b"9" * 5_000}
        )
        await store.hset(tenant_key(TENANT, "usage"), mapping={"class:ai_embeddings": "-5"})

        async with serve_cache(redis_url) as channel:
            other = CacheClient(channel)
            found = await other.get("video", "k")
            quotas = {use.quota: use.used for use in (await other.stats()).quotas}

        assert isinstance(found, Hit)
        assert 0 == quotas["bytes of class ai_embeddings"]


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
