"""Every method of the cache client against the real service."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mainstay.cache import (
    NOTHING,
    UNCHANGED,
    CacheClient,
    EntryKind,
    EntryState,
    Failed,
    FillOutcome,
    Heartbeat,
    Hit,
    Invalidation,
    Item,
    Lease,
    Miss,
    MissReason,
    Negative,
    NotModified,
    Refused,
    Stale,
    Started,
    Touched,
    Watched,
    Written,
)
from mainstay.errors import (
    ConflictError,
    NotFoundError,
    PreconditionError,
    ValidationError,
)

NAME = ("video", "1")
ZERO = timedelta()


async def value(cache: CacheClient, key: str) -> bytes | MissReason:
    """Return what a read gives."""
    found = await cache.get("video", key)
    return found.value if isinstance(found, Hit) else found.reason


async def lease(cache: CacheClient, key: str = "1", ttl_class: str | None = None) -> Lease:
    """Return a lease on an entry that is not there, or is stale."""
    offer = await cache.get_or_lease("video", key, ttl_class=ttl_class, wait=ZERO)
    assert offer.lease is not None
    return offer.lease


class TestEntries:
    async def test_set_and_get(self, cache: CacheClient) -> None:
        """An entry comes back with all that it was written with."""
        written = await cache.set(
            *NAME, b"v", ttl=timedelta(minutes=5), content_type="text/plain", tags=["a", "b"]
        )
        found = await cache.get(*NAME)

        assert isinstance(found, Hit)
        assert (b"v", "text/plain", written.version) == (
            found.value,
            found.content_type,
            found.version,
        )
        assert {"a", "b"} == set(found.tags)
        assert (written.expire_time, None) == (found.expire_time, found.near_max_age)

    async def test_conditions(self, cache: CacheClient) -> None:
        """Absent, present, and this version; otherwise a conflict."""
        with pytest.raises(ConflictError) as caught:
            await cache.set(*NAME, b"v", if_present=True)
        first = await cache.set(*NAME, b"v", if_absent=True)
        with pytest.raises(ConflictError):
            await cache.set(*NAME, b"w", if_absent=True)
        await cache.set(*NAME, b"w", if_version=first.version)
        with pytest.raises(ConflictError):
            await cache.set(*NAME, b"x", if_version=first.version)

        assert "CONDITION_UNMET" == caught.value.reason
        assert b"w" == await value(cache, "1")

    async def test_delete_and_touch(self, cache: CacheClient) -> None:
        """Both say whether there was an entry."""
        await cache.set(*NAME, b"v")
        touched = await cache.touch(*NAME, ttl=timedelta(days=2))

        assert touched.expire_time is not None
        assert (True, True, False) == (
            touched.existed,
            await cache.delete(*NAME),
            await cache.delete(*NAME),
        )
        assert Touched(existed=False, expire_time=None) == await cache.touch(*NAME)

    async def test_batches(self, cache: CacheClient) -> None:
        """Each part has its own result."""
        await cache.set("video", "there", b"old")
        written = await cache.set_many(
            "video",
            [
                Item(key="1", value=b"one", tags=("t",)),
                Item(key="there", value=b"new", if_absent=True),
            ],
        )
        found = await cache.get_many("video", ["1", "there", "none"])
        touched = await cache.touch_many("video", ["1", "none"], ttl=timedelta(hours=1))
        deleted = await cache.delete_many("video", ["1", "none"])

        refused = written["there"]
        assert isinstance(written["1"], Written)
        assert isinstance(refused, Refused)
        assert isinstance(refused.error, ConflictError)
        assert [b"one", b"old"] == [one.value for one in found.values() if isinstance(one, Hit)]
        assert Miss(reason=MissReason.COLD) == found["none"]
        there = [one.existed for one in touched.values() if isinstance(one, Touched)]
        assert [True, False] == there
        assert {"1": True, "none": False} == deleted

    async def test_empty_batches(self, cache: CacheClient) -> None:
        """They cost no call."""
        assert [{}, {}, {}, {}] == [
            await cache.get_many("video", []),
            await cache.set_many("video", []),
            await cache.delete_many("video", []),
            await cache.touch_many("video", []),
        ]


class TestLeases:
    async def test_fill(self, cache: CacheClient) -> None:
        """Whoever has the lease stores; whoever waits is given it."""
        held = await lease(cache)
        waiting = asyncio.create_task(cache.get_or_lease(*NAME, wait=timedelta(seconds=10)))
        extended = await cache.extend(held, timedelta(seconds=20))
        filled = await cache.fill(held, b"v", tags=["a"], compute_duration=timedelta(seconds=1))
        offer = await waiting

        assert extended is not None
        assert timedelta(seconds=15) < extended <= timedelta(seconds=20)
        assert (FillOutcome.STORED, timedelta(seconds=10)) == (filled.outcome, held.duration)
        assert isinstance(offer.found, Hit)
        assert (b"v", filled.version) == (offer.found.value, offer.found.version)
        assert offer.lease is None

    async def test_a_lease_that_is_over(self, cache: CacheClient) -> None:
        """A write voids it: nothing is stored, extended or given back."""
        held = await lease(cache)
        await cache.set(*NAME, b"v")

        assert FillOutcome.LEASE_LOST is (await cache.fill(held, b"old")).outcome
        assert await cache.extend(held) is None
        assert not await cache.abandon(held)

    async def test_an_invalidation_meanwhile(self, cache: CacheClient) -> None:
        """Nothing is stored."""
        held = await lease(cache)
        await cache.invalidate_tags(["t"])

        assert FillOutcome.INVALIDATED is (await cache.fill(held, b"old", tags=["t"])).outcome

    async def test_nothing(self, cache: CacheClient) -> None:
        """That there is nothing is known from then on."""
        await cache.fill(await lease(cache), NOTHING, ttl_class="brief")
        offer = await cache.get_or_lease(*NAME)

        assert isinstance(offer.found, Negative)
        assert MissReason.NEGATIVE is await value(cache, "1")

    async def test_unchanged(self, cache: CacheClient) -> None:
        """A stale entry is confirmed, its bytes stay."""
        await cache.fill(await lease(cache), b"v", ttl_class="stale_soon")
        await asyncio.sleep(0.002)  # its soft TTL of a millisecond
        offer = await cache.get_or_lease(*NAME, ttl_class="stale_soon")
        assert offer.lease is not None
        filled = await cache.fill(offer.lease, UNCHANGED, ttl_class="general")

        assert isinstance(offer.found, Stale)
        assert offer.found.entry.version == offer.lease.stale_version
        assert (FillOutcome.STORED, b"v") == (filled.outcome, await value(cache, "1"))

    async def test_unchanged_without_an_entry(self, cache: CacheClient) -> None:
        """There is nothing that could be."""
        held = await lease(cache)
        with pytest.raises(ValidationError, match="no stale entry"):
            await cache.fill(held, UNCHANGED)

    async def test_a_failed_computation(self, cache: CacheClient) -> None:
        """Whoever asks next is told, and when to try again."""
        await cache.abandon(await lease(cache), error="no", throttle=timedelta(seconds=30))
        found = (await cache.get_or_lease(*NAME)).found

        assert isinstance(found, Failed)
        assert "no" == found.error
        assert timedelta(seconds=20) < found.retry_after <= timedelta(seconds=30)

    async def test_a_version_that_the_caller_has(self, cache: CacheClient) -> None:
        """It is not sent again."""
        written = await cache.set(*NAME, b"v")
        found = (await cache.get_or_lease(*NAME, if_version=written.version)).found

        assert isinstance(found, NotModified)

    async def test_somebody_elses_lease(self, cache: CacheClient) -> None:
        """A token is good for one entry."""
        held = await lease(cache)
        with pytest.raises(PreconditionError) as caught:
            await cache.fill(replace(held, key="2"), b"v")

        assert "LEASE_OF_ANOTHER" == caught.value.reason


class TestCollections:
    async def test_counters(self, cache: CacheClient) -> None:
        """They are created once and count on."""
        first = await cache.increment("count", "c", 5, initial=10, ttl=timedelta(hours=1))
        second = await cache.increment("count", "c", -1)
        third = await cache.increment("count", "c")

        assert [(15, True), (14, False), (15, False)] == [
            (counter.value, counter.created) for counter in (first, second, third)
        ]
        assert first.expire_time == second.expire_time

    async def test_lists(self, cache: CacheClient) -> None:
        """Both ends, parts, and a bound."""
        pushed = await cache.push("list", "l", [b"1", b"2", b"3"], tags=["t"])
        await cache.push("list", "l", [b"0"], at_head=True, max_length=3)
        part = await cache.read_list("list", "l", start=-2)
        left = await cache.trim("list", "l", start=0, count=1)

        assert (3, True) == (pushed.length, pushed.created)
        assert ((b"1", b"2"), 3, 1) == (part.items, part.length, left)
        assert (b"0",) == (await cache.read_list("list", "l")).items
        assert 0 == (await cache.read_list("list", "none")).length

    async def test_sets(self, cache: CacheClient) -> None:
        """Members come page by page."""
        many = [b"%d" % number for number in range(2_500)]
        added = await cache.add_members("set", "s", many[:1_000])
        await cache.add_members("set", "s", many[1_000:2_000])
        await cache.add_members("set", "s", many[2_000:])
        removed = await cache.remove_members("set", "s", [b"0", b"none"])
        members = {member async for member in cache.members("set", "s", page_size=100)}

        assert (1_000, 1_000, True) == (added.added, added.size, added.created)
        assert (1, 2_499) == (removed.removed, removed.size)
        assert set(many[1:]) == members
        assert {b"0": False, b"1": True} == await cache.contains("set", "s", [b"0", b"1"])

    async def test_another_kind(self, cache: CacheClient) -> None:
        """A set is no value."""
        await cache.add_members("video", "1", [b"m"])
        with pytest.raises(PreconditionError) as caught:
            await cache.get(*NAME)

        assert "WRONG_KIND" == caught.value.reason


class TestInvalidations:
    async def test_each_way(self, cache: CacheClient) -> None:
        """Reads say why there is nothing any more."""
        for key in ("key", "prefix-1"):
            await cache.set("video", key, b"v")
        await cache.set("video", "tag", b"v", tags=["t"])
        await cache.set("video", "event", b"v", tags=["user:7"])
        await cache.set("other", "1", b"v")
        await cache.invalidate_keys("video", ["key"])
        await cache.invalidate_tags(["t"])
        by_event = await cache.invalidate_event("user.updated", {"user_id": 7})
        await cache.invalidate_prefix("video", "prefix-")
        last = await cache.invalidate_namespace("other")
        other = await cache.get("other", "1")

        assert ("user:7",) == by_event.tags
        assert last.sequence > by_event.sequence
        assert [
            MissReason.INVALIDATED_BY_TAG,
            MissReason.INVALIDATED_BY_EVENT,
            MissReason.INVALIDATED_BY_PREFIX,
        ] == [await value(cache, key) for key in ("tag", "event", "prefix-1")]
        assert MissReason.INVALIDATED_BY_KEY is await value(cache, "key")
        assert Miss(reason=MissReason.INVALIDATED_BY_NAMESPACE) == other

    async def test_an_event_that_nobody_mapped(self, cache: CacheClient) -> None:
        """It would invalidate nothing, and nobody would notice."""
        with pytest.raises(NotFoundError) as caught:
            await cache.invalidate_event("no.such", {})

        assert "EVENT_UNKNOWN" == caught.value.reason

    async def test_data_that_is_no_json(self, cache: CacheClient) -> None:
        """It is refused here, by name."""
        with pytest.raises(ValidationError, match="cannot be sent as JSON"):
            await cache.invalidate_event("user.updated", {"user_id": object()})

    async def test_watching(self, cache: CacheClient) -> None:
        """The stream starts, tells, and beats."""
        seen: list[Watched] = []
        async with asyncio.timeout(10):
            stream = cache.watch_invalidations()
            async for message in stream:
                seen.append(message)
                if isinstance(message.event, Started):
                    await cache.invalidate_tags(["t"])
                if isinstance(message.event, Invalidation):
                    break
            await stream.aclose()

        (told,) = [one for one in seen if isinstance(one.event, Invalidation)]
        assert isinstance(told.event, Invalidation)
        assert (("t",), seen[0].sequence) == (told.event.tags, told.previous_sequence)
        assert all(isinstance(one.event, Started | Heartbeat) for one in seen[:-1])


class TestAdministration:
    async def test_statistics(self, cache: CacheClient) -> None:
        """Hits and misses are counted, in all and by group."""
        await cache.set(*NAME, b"v")
        await value(cache, "1")
        await value(cache, "2")
        async with asyncio.timeout(30):
            # What is counted is written down once a moment.
            while (found := await cache.stats(namespace="video")).total.hits < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        assert (1, 1, 0.5) == (found.total.hits, found.total.misses, found.total.hit_rate)
        assert {MissReason.COLD: 1} == found.total.miss_counts
        assert {"video"} == {group.namespace for group in found.groups}
        assert {"entries", "bytes"} <= {usage.quota for usage in found.quotas}

    async def test_classes(self, cache: CacheClient) -> None:
        """The policy as it is in force."""
        found = await cache.classes()
        near = next(one for one in found.classes if one.name == "near")

        assert ("general", ("user.updated",), "") == (
            found.default_class,
            found.event_types,
            found.policy_error,
        )
        assert (timedelta(minutes=10), None, timedelta(minutes=5)) == (
            near.ttl,
            near.soft_ttl,
            near.near_max_age,
        )

    async def test_inspect(self, cache: CacheClient) -> None:
        """All but the value."""
        await cache.set(*NAME, b"value", tags=["t"], ttl_class="general")
        there = await cache.inspect(*NAME)
        absent = await cache.inspect("video", "2")

        assert there.entry is not None
        assert (EntryState.FRESH, EntryKind.VALUE, 5, b"", ("t",)) == (
            there.state,
            there.kind,
            there.value_bytes,
            there.entry.value,
            there.entry.tags,
        )
        assert (None, None) == (there.miss_reason, there.lease_remaining)
        assert (EntryState.ABSENT, MissReason.COLD, None) == (
            absent.state,
            absent.miss_reason,
            absent.entry,
        )
