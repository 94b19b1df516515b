"""Counters, lists and sets through the service: each method over the wire, and what it refuses."""

from datetime import timedelta
from pathlib import Path

import pytest

from mainstay.cache.client import CacheClient
from mainstay.cache.results import Hit
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import PreconditionError, QuotaError, ValidationError
from tests.integration.cache.conftest import ServeCache

MINUTE = timedelta(minutes=1)


class TestCounters:
    async def test_count_from_their_initial_value(self, cache: CacheClient) -> None:
        """A delta that is not given is 1, one of zero is zero."""
        first = await cache.increment("n", "c", initial=10, ttl=MINUTE)
        second = await cache.increment("n", "c", -15)
        third = await cache.increment("n", "c", 0)

        assert (11, True) == (first.value, first.created)
        assert (-4, False, first.expire_time) == (second.value, second.created, second.expire_time)
        assert -4 == third.value

    async def test_beyond_64_bits_the_field_is_named(self, cache: CacheClient) -> None:
        """With a reason of its own."""
        await cache.increment("n", "c", initial=2**63 - 2)

        with pytest.raises(ValidationError) as refused:
            await cache.increment("n", "c")

        assert "COUNTER_OVERFLOW" == refused.value.reason
        assert {"delta"} == set(refused.value.fields)

    async def test_get_reads_them_and_delete_removes_them(self, cache: CacheClient) -> None:
        """They are entries like others."""
        await cache.increment("n", "c", 41)
        entry = await cache.get("n", "c")
        await cache.delete("n", "c")
        again = await cache.increment("n", "c")

        assert isinstance(entry, Hit)
        assert b"41" == entry.value
        assert (1, True) == (again.value, again.created)


class TestLists:
    async def test_are_pushed_to_at_both_ends_read_and_trimmed(self, cache: CacheClient) -> None:
        """The tail where nothing is said."""
        await cache.push("n", "l", [b"c", b"d"], ttl=MINUTE)
        pushed = await cache.push("n", "l", [b"b", b"a"], at_head=True, max_length=3)
        part = await cache.read_list("n", "l", start=-2, count=5)
        left = await cache.trim("n", "l", start=1, count=1)

        assert (3, False) == (pushed.length, pushed.created)
        assert ((b"b", b"c"), 3) == (part.items, part.length)
        assert 1 == left
        assert (b"b",) == (await cache.read_list("n", "l")).items

    async def test_get_does_not_read_them(self, cache: CacheClient) -> None:
        """It says which methods do."""
        await cache.push("n", "l", [b"a"])

        with pytest.raises(PreconditionError) as refused:
            await cache.get("n", "l")

        assert "WRONG_KIND" == refused.value.reason

    async def test_set_replaces_them(self, cache: CacheClient) -> None:
        """Items and all: a list begun anew is empty."""
        await cache.push("n", "l", [b"a"])
        await cache.set("n", "l", b"value")
        await cache.delete("n", "l")

        await cache.push("n", "l", [b"b"])

        assert (b"b",) == (await cache.read_list("n", "l")).items


class TestSets:
    async def test_are_added_to_asked_and_removed_from(self, cache: CacheClient) -> None:
        """What is added twice is one member."""
        added = await cache.add_members("n", "s", [b"a", b"b", b"a"], ttl=MINUTE)
        contained = await cache.contains("n", "s", [b"b", b"x"])
        removed = await cache.remove_members("n", "s", [b"a", b"x"])

        assert (2, 2, True) == (added.added, added.size, added.created)
        assert {b"b": True, b"x": False} == contained
        assert (1, 1) == (removed.removed, removed.size)

    async def test_pages_lead_through_all_members(self, cache: CacheClient) -> None:
        """By the token of the page before."""
        expected = {b"%d" % n for n in range(700)}
        await cache.add_members("n", "s", expected)

        found = {member async for member in cache.members("n", "s", page_size=100)}

        assert expected == found


class TestOnTheWire:
    async def test_an_end_that_is_not_known_is_the_tail(self, channel: Channel) -> None:
        """Unset numbers are the largest there are."""
        stub = pb_grpc.CacheServiceStub(channel.raw)
        await stub.PushToList(pb.PushToListRequest(namespace="n", key="l", items=[b"a", b"b"]))

        response = await stub.ReadList(pb.ReadListRequest(namespace="n", key="l"))

        assert [b"a", b"b"] == [*response.items]

    async def test_quotas_answer_resource_exhausted(
        self, redis_url: str, serve_cache: ServeCache, tmp_path: Path
    ) -> None:
        """With the quota named, for whoever reads the details."""
        text = "default: c\nclasses:\n  c:\n    ttl: 1h\nquotas:\n  default:\n    entries: 1\n"
        (tmp_path / "cache.yaml").write_text(text, encoding="utf-8")
        async with serve_cache(redis_url, policies_dir=tmp_path) as channel:
            cache = CacheClient(channel)
            await cache.increment("n", "c")
            await cache.increment("n", "c")

            for write in (
                cache.set("n", "k", b""),
                cache.push("n", "l", [b"a"]),
                cache.add_members("n", "s", [b"a"]),
                cache.increment("n", "d"),
            ):
                with pytest.raises(QuotaError) as refused:
                    await write
                assert {"entries"} == set(refused.value.violations)
                assert "1 of 1 are used" in refused.value.violations["entries"]
