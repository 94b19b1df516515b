"""What is counted, over all replicas, live and kept."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from cli.embedded.redis import RedisServer
from mainstay.cache.client import CacheClient
from mainstay.cache.results import Hit, MissReason
from mainstay.channel import Channel
from mainstay.errors import CacheError, ValidationError
from services.cache.keys import entry_key
from tests.integration.cache.administration.asking import (
    computed,
    until,
    until_answered,
    until_gone,
    until_migrated,
)
from tests.integration.cache.conftest import TENANT, ServeCache


class TestStats:
    async def test_over_two_replicas(self, replicas: list[CacheClient]) -> None:
        """Each answers for both, whoever was asked for what."""
        one, two = replicas
        await computed(one, "1", b"v", took=timedelta(seconds=2))
        for cache in (one, one, two):
            await cache.get("video", "1")
        await two.get("chat", "none")
        answers = [
            await until(cache.stats, lambda stats: stats.total.hits == 3) for cache in replicas
        ]

        for answer in answers:
            total = answer.total
            assert (3, 2, 0.6) == (total.hits, total.misses, total.hit_rate)
            assert {MissReason.COLD: 2} == total.miss_counts
            assert (1, 3, timedelta(seconds=6)) == (
                total.computations,
                total.computations_saved,
                total.time_saved,
            )
            assert 0.7 == answer.target_hit_rate

    async def test_of_one_namespace_or_class(self, cache: CacheClient) -> None:
        """Groups are told apart, the most read first."""
        for namespace, ttl_class, reads in (("video", "general", 3), ("video", "kept", 1)):
            await cache.set(namespace, ttl_class, b"v", ttl_class=ttl_class)
            for _ in range(reads):
                await cache.get(namespace, ttl_class)
        await cache.get("chat", "1")
        groups = (await cache.stats()).groups
        video = await cache.stats(namespace="video")
        kept = await cache.stats(ttl_class="kept")

        assert [("video", "general", 3), ("chat", "", 0), ("video", "kept", 1)] == [
            (group.namespace, group.ttl_class, group.figures.hits) for group in groups
        ]
        assert (4, 1) == (video.total.hits, kept.total.hits)

    async def test_every_reason_is_told(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Why what was there is there no more."""
        await cache.get("video", "cold")
        for key in ("key", "deleted", "tag", "prefix:1", "evicted", "unreadable"):
            await cache.set("video", key, b"v", tags=["t"] if key == "tag" else ())
        await cache.set("other", "1", b"v")
        await cache.set("video", "event", b"v", tags=["user:1"])
        await cache.set("video", "expired", b"v", ttl=timedelta(milliseconds=1))
        await cache.invalidate_keys("video", ["key"])
        await cache.delete("video", "deleted")
        await cache.invalidate_tags(["t"])
        await cache.invalidate_prefix("video", "prefix:")
        await cache.invalidate_namespace("other")
        await cache.invalidate_event("user.changed", {"user_id": "1"})
        await store.delete(entry_key(TENANT, "video", "evicted"))
        await store.set(entry_key(TENANT, "video", "unreadable"), b"foreign")
        for key in ("key", "deleted", "tag", "prefix:1", "evicted", "unreadable", "event"):
            await cache.get("video", key)
        await cache.get("other", "1")
        await until_gone(store, entry_key(TENANT, "video", "expired"))
        await cache.get("video", "expired")

        assert {
            MissReason.COLD: 1,
            MissReason.INVALIDATED_BY_KEY: 2,
            MissReason.INVALIDATED_BY_TAG: 1,
            MissReason.INVALIDATED_BY_PREFIX: 1,
            MissReason.INVALIDATED_BY_NAMESPACE: 1,
            MissReason.INVALIDATED_BY_EVENT: 1,
            MissReason.EVICTED: 1,
            MissReason.UNREADABLE: 1,
            MissReason.EXPIRED: 1,
        } == (await cache.stats()).total.miss_counts

    async def test_quotas_are_part_of_it(self, cache: CacheClient) -> None:
        """What the tenant holds and may hold, permanent classes by themselves."""
        await cache.set("video", "1", b"v")
        await cache.set("video", "2", b"v", ttl_class="kept")
        quotas = {quota.quota: quota for quota in (await cache.stats()).quotas}

        assert {"entries", "bytes", "bytes of class kept"} == quotas.keys()
        assert (2, 10) == (quotas["entries"].used, quotas["entries"].limit)
        assert 1024 * 1024 == quotas["bytes of class kept"].limit

    async def test_tenants_have_their_own(self, cache: CacheClient, channel: Channel) -> None:
        """Nobody sees another's reads."""
        await cache.get("video", "1")
        async with Channel(channel.target, tenant="other") as other:
            found = await CacheClient(other).stats()

        assert 0 == found.total.misses

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"window": timedelta(0)}, "window"),
            ({"window": timedelta(seconds=90)}, "window"),
            ({"window": timedelta(hours=24, minutes=1)}, "window"),
            ({"window": timedelta(seconds=-60)}, "window"),
            ({"window": timedelta(days=3650)}, "window"),
            ({"namespace": "Video"}, "namespace"),
            ({"ttl_class": "none"}, "ttl_class"),
        ],
    )
    async def test_bad_input(
        self, cache: CacheClient, asked: dict[str, object], field: str
    ) -> None:
        """Each wrong field is named."""
        with pytest.raises(ValidationError) as refused:
            await cache.stats(**asked)  # type: ignore[arg-type]

        assert {field} == refused.value.fields.keys()

    async def test_reads_that_found_no_store_count(
        self, private_redis: RedisServer, serve_cache: ServeCache
    ) -> None:
        """They are told when it is back; while it is gone nobody can be told anything."""
        async with serve_cache(private_redis.url) as channel:
            cache = CacheClient(channel)
            await private_redis.stop()
            with pytest.raises(CacheError):
                await cache.get("video", "1")
            with pytest.raises(CacheError):
                await cache.stats()
            await private_redis.start()
            stats = await until_answered(cache.stats)

        assert {MissReason.STORE_UNAVAILABLE: 1} == stats.total.miss_counts

    async def test_prometheus_has_them_at_once(self, cache: CacheClient) -> None:
        """A scrape does not have to wait for the next flush."""
        labels = {"namespace": "scraped", "result": "cold"}
        before = REGISTRY.get_sample_value("mainstay_cache_reads_total", labels) or 0.0
        await cache.get("scraped", "1")
        after = REGISTRY.get_sample_value("mainstay_cache_reads_total", labels) or 0.0

        assert 1.0 == after - before


class TestHistory:
    async def test_goes_to_postgres(
        self, redis_url: str, postgres_url: str, serve_cache: ServeCache
    ) -> None:
        """Where it is given, and it needs no migration by hand."""
        async with serve_cache(redis_url, postgres_url=postgres_url) as channel:
            await CacheClient(channel).get("video", "1")
            await until_migrated(postgres_url)
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(f"SET mainstay.tenant = '{TENANT}'")
        rows = await connection.fetch("SELECT * FROM cache.cache_statistics")
        await connection.close()

        assert [("video", 1)] == [(row["namespace"], row["miss_cold"]) for row in rows]

    async def test_is_nothing_the_cache_waits_for(
        self, redis_url: str, serve_cache: ServeCache
    ) -> None:
        """With a PostgreSQL that is not there it starts, serves and stops all the same."""
        nowhere = "postgresql://mainstay@127.0.0.1:1/none"
        async with asyncio.timeout(15), serve_cache(redis_url, postgres_url=nowhere) as channel:
            cache = CacheClient(channel)
            await cache.set("video", "1", b"v")

            assert isinstance(await cache.get("video", "1"), Hit)
