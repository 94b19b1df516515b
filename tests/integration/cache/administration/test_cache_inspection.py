"""What people are told of the classes and of one entry."""

import asyncio
from datetime import timedelta

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.cache.administration import EntryKind, EntryState
from mainstay.cache.client import CacheClient
from mainstay.cache.results import NOTHING, Lease, Miss, MissReason
from mainstay.channel import Channel
from mainstay.errors import ValidationError
from services.cache.keys import items_key
from tests.integration.cache.administration.asking import (
    MINUTES,
    WHERE,
    computed,
)
from tests.integration.cache.conftest import ServeCache


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
