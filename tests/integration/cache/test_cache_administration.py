"""What people ask of the cache: statistics, classes, and what is known of an entry."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from cli.embedded.redis import RedisServer
from mainstay.cache.administration import EntryKind, EntryState, Stats
from mainstay.cache.client import CacheClient
from mainstay.cache.results import NOTHING, Hit, Lease, Miss, MissReason
from mainstay.channel import Channel
from mainstay.errors import CacheError, ValidationError
from services.cache.keys import entry_key, items_key
from tests.integration.cache.conftest import TENANT, ServeCache

POLICY = """
default: general
classes:
  general:
    ttl: 10m
  brief:
    ttl: 10m
    soft_ttl: 1ms
  fleeting:
    ttl: 50ms
  kept:
    ttl: permanent
    max_bytes: 1MiB
quotas:
  default:
    entries: 10
    bytes: 1MiB
events:
  user.changed:
    - user:{user_id}
"""
WHERE = entry_key(TENANT, "video", "1")
MINUTES = timedelta(minutes=5)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Write a policy with classes of short lives."""
    (tmp_path / "cache.yaml").write_text(POLICY)
    return tmp_path


@pytest.fixture
async def replicas(
    redis_url: str, serve_cache: ServeCache, policies: Path
) -> AsyncIterator[list[CacheClient]]:
    """Connect to two replicas."""
    async with AsyncExitStack() as stack:
        yield [
            CacheClient(
                await stack.enter_async_context(
                    serve_cache(redis_url, policies_dir=policies, cache_statistics_interval=0.05)
                )
            )
            for _ in range(2)
        ]


@pytest.fixture
def cache(replicas: list[CacheClient]) -> CacheClient:
    """Return the client of the first replica."""
    return replicas[0]


async def computed(cache: CacheClient, key: str, value: bytes, *, took: timedelta) -> None:
    """Miss an entry and fill it."""
    offer = await cache.get_or_lease("video", key)
    assert isinstance(offer.lease, Lease)
    await cache.fill(offer.lease, value, compute_duration=took)


async def until(ask: Callable[[], Awaitable[Stats]], enough: Callable[[Stats], bool]) -> Stats:
    """Ask until another replica has told what it counted."""
    async with asyncio.timeout(10):
        while not enough(stats := await ask()):  # noqa: ASYNC110 - another process's timer
            await asyncio.sleep(0.01)
    return stats


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


class TestClasses:
    async def test_are_those_of_the_policy(self, cache: CacheClient) -> None:
        """In its order, with what it says of each."""
        found = await cache.classes()
        names = [listed.name for listed in found.classes]
        general, brief, _, kept = found.classes

        assert (["general", "brief", "fleeting", "kept"], "general") == (names, found.default_class)
        assert (("user.changed",), "") == (found.event_types, found.policy_error)
        assert (timedelta(minutes=10), None) == (general.ttl, general.soft_ttl)
        assert timedelta(milliseconds=1) == brief.soft_ttl
        assert (None, 1024 * 1024) == (kept.ttl, kept.max_bytes)

    async def test_need_no_store(self, private_redis: RedisServer, serve_cache: ServeCache) -> None:
        """They are answered from memory."""
        async with serve_cache(private_redis.url) as channel:
            await private_redis.stop()

            assert "general" == (await CacheClient(channel).classes()).default_class


class TestInspection:
    async def test_of_what_is_fresh(self, cache: CacheClient) -> None:
        """Everything but the value."""
        await cache.set("video", "1", b"value", ttl=MINUTES, tags=["a"], content_type="text/x")
        found = await cache.inspect("video", "1")
        entry = found.entry

        assert (EntryState.FRESH, EntryKind.VALUE, None) == (
            found.state,
            found.kind,
            found.miss_reason,
        )
        assert entry is not None
        assert (b"", "text/x", ("a",)) == (entry.value, entry.content_type, entry.tags)
        assert entry.expire_time is not None
        assert MINUTES == entry.expire_time - entry.create_time
        assert 5 == found.value_bytes
        assert timedelta(0) <= found.age < timedelta(seconds=10)
        assert (None, "") == (found.lease_remaining, found.computation_error)

    async def test_of_what_was_computed(self, cache: CacheClient) -> None:
        """How long it took, and why it had to be."""
        await cache.set("video", "1", b"old", tags=["t"])
        await cache.invalidate_tags(["t"])
        await computed(cache, "1", b"new", took=timedelta(seconds=2))
        found = await cache.inspect("video", "1")

        assert timedelta(seconds=2) == found.compute_duration
        assert MissReason.INVALIDATED_BY_TAG is found.last_miss_reason

    async def test_of_what_is_stale(self, cache: CacheClient) -> None:
        """A read would find it, past its soft expiry."""
        await cache.set("video", "1", b"v", ttl_class="brief")
        async with asyncio.timeout(5):
            while (found := await cache.inspect("video", "1")).state is EntryState.FRESH:
                pass

        assert EntryState.STALE is found.state
        assert found.entry is not None
        assert "brief" == found.entry.ttl_class

    async def test_of_what_the_source_lacks(self, cache: CacheClient) -> None:
        """It is known that there is nothing."""
        offer = await cache.get_or_lease("video", "1")
        assert isinstance(offer.lease, Lease)
        await cache.fill(offer.lease, NOTHING)
        found = await cache.inspect("video", "1")

        assert (EntryState.NEGATIVE, EntryKind.NEGATIVE, MissReason.NEGATIVE) == (
            found.state,
            found.kind,
            found.miss_reason,
        )

    async def test_of_what_is_computed_now(self, cache: CacheClient) -> None:
        """For how long still."""
        await cache.get_or_lease("video", "1", lease_duration=timedelta(seconds=30))
        found = await cache.inspect("video", "1")

        assert EntryState.ABSENT is found.state
        assert found.lease_remaining is not None
        assert timedelta(seconds=20) < found.lease_remaining <= timedelta(seconds=30)

    async def test_of_what_could_not_be_computed(self, cache: CacheClient) -> None:
        """What its computation failed with, while others are kept from trying."""
        offer = await cache.get_or_lease("video", "1")
        assert isinstance(offer.lease, Lease)
        await cache.abandon(offer.lease, error="the source is on fire")
        found = await cache.inspect("video", "1")

        assert "the source is on fire" == found.computation_error
        assert found.lease_remaining is None

    async def test_of_what_was_invalidated(self, cache: CacheClient) -> None:
        """It is still there to be looked at, and reads don't find it."""
        await cache.set("video", "1", b"value", tags=["t"])
        await cache.invalidate_tags(["t"])
        found = await cache.inspect("video", "1")

        assert (EntryState.ABSENT, MissReason.INVALIDATED_BY_TAG, EntryKind.VALUE, 5) == (
            found.state,
            found.miss_reason,
            found.kind,
            found.value_bytes,
        )

    async def test_of_what_was_removed(self, cache: CacheClient) -> None:
        """Its reason is left, and for how long it has been gone."""
        await cache.set("video", "1", b"value")
        await cache.delete("video", "1")
        found = await cache.inspect("video", "1")

        assert (EntryState.ABSENT, MissReason.INVALIDATED_BY_KEY, None, EntryKind.NONE) == (
            found.state,
            found.miss_reason,
            found.entry,
            found.kind,
        )

    async def test_of_what_was_never_there(self, cache: CacheClient) -> None:
        """As a read would say."""
        found = await cache.inspect("video", "1")

        assert (EntryState.ABSENT, MissReason.COLD, None) == (
            found.state,
            found.miss_reason,
            found.entry,
        )

    async def test_of_what_another_program_wrote(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Bytes that are no frame, and what is not even bytes."""
        await store.set(WHERE, b"foreign")
        text = await cache.inspect("video", "1")
        await store.delete(WHERE)
        await store.hset(WHERE, "a", "b")
        table = await cache.inspect("video", "1")

        assert (MissReason.UNREADABLE, 7) == (text.miss_reason, text.value_bytes)
        assert (MissReason.UNREADABLE, 0) == (table.miss_reason, table.value_bytes)

    async def test_of_a_list_and_a_set(self, cache: CacheClient) -> None:
        """The size is that of what is in them."""
        await cache.push("video", "1", [b"12345", b"678"])
        await cache.add_members("video", "2", [b"1234"])
        a_list, a_set = [await cache.inspect("video", key) for key in "12"]

        assert (EntryKind.LIST, 8) == (a_list.kind, a_list.value_bytes)
        assert (EntryKind.SET, 4) == (a_set.kind, a_set.value_bytes)
        assert [EntryState.FRESH] * 2 == [a_list.state, a_set.state]

    async def test_of_a_list_whose_items_are_gone(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """The store may evict one of the two keys."""
        await cache.push("video", "1", [b"1"])
        await store.delete(items_key(WHERE))
        found = await cache.inspect("video", "1")

        assert (EntryState.ABSENT, MissReason.EVICTED) == (found.state, found.miss_reason)

    async def test_is_no_read(self, cache: CacheClient) -> None:
        """Neither in the statistics nor for what makes room first."""
        await cache.set("video", "1", b"v")
        await cache.inspect("video", "1")
        await cache.inspect("video", "2")
        total = (await cache.stats()).total

        assert (0, 0) == (total.hits, total.misses)

    async def test_of_another_tenant_is_not_possible(
        self, cache: CacheClient, channel: Channel
    ) -> None:
        """The entry of the same name is another one."""
        await cache.set("video", "1", b"v")
        async with Channel(channel.target, tenant="other") as other:
            found = await CacheClient(other).inspect("video", "1")

        assert EntryState.ABSENT is found.state

    async def test_with_a_bad_name(self, cache: CacheClient) -> None:
        """Both parts are checked at once."""
        with pytest.raises(ValidationError) as refused:
            await cache.inspect("Video", "")

        assert {"namespace", "key"} == refused.value.fields.keys()

    async def test_agrees_with_a_read(self, cache: CacheClient) -> None:
        """The same verdict, by the same history."""
        await cache.set("video", "1", b"v")
        await cache.invalidate_namespace("video")
        found = await cache.inspect("video", "1")
        read = await cache.get("video", "1")

        assert isinstance(read, Miss)
        assert read.reason is found.miss_reason


async def until_gone(store: "redis.asyncio.Redis", key: bytes) -> None:
    """Wait until Redis has ended an entry."""
    async with asyncio.timeout(5):
        while await store.exists(key):
            pass


async def until_answered(ask: Callable[[], Awaitable[Stats]]) -> Stats:
    """Ask until Redis is believed to be back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask()
            except CacheError:
                await asyncio.sleep(0.05)


async def until_migrated(url: str) -> None:
    """Wait until the background task has connected."""
    connection = await asyncpg.connect(url)
    query = "SELECT to_regclass('cache.cache_statistics')"
    async with asyncio.timeout(20):
        while await connection.fetchval(query) is None:  # noqa: ASYNC110 - another connection's
            await asyncio.sleep(0.02)
    await connection.close()
