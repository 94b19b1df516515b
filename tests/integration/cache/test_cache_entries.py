"""Entries: written, read back, ended, replaced and removed, over gRPC and a real Redis."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio

from mainstay.cache.client import CacheClient
from mainstay.cache.results import Hit, Item, Miss, MissReason, Refused, Touched, Written
from mainstay.errors import ConflictError, PreconditionError
from services.cache.frame import decode, encode
from services.cache.keys import entry_key

COLD = Miss(reason=MissReason.COLD)
WHERE = entry_key("acme", "video", "v1")
MINUTE_MS = 60_000
# Between the write and the look at Redis some time passes; half a minute on a busy machine.
SLACK_MS = 30_000
# Classes shorten lifetimes at random, by half at most.
LARGEST_JITTER = 0.5


class TestGet:
    async def test_a_hit_gives_back_what_was_written(self, cache: CacheClient) -> None:
        """Value, content type, version and times come back."""
        before = _now()
        written = await cache.set("video", "v1", b"\x00\xff", content_type="image/png")

        hit = await cache.get("video", "v1")

        assert isinstance(hit, Hit)
        assert (b"\x00\xff", "image/png") == (hit.value, hit.content_type)
        assert (written.version, written.expire_time) == (hit.version, hit.expire_time)
        assert before <= hit.create_time <= _now()

    async def test_a_miss_is_a_value(self, cache: CacheClient) -> None:
        """What was never written is absent, not an error."""
        assert await cache.get("video", "v1") == COLD

    async def test_empty_is_a_value(self, cache: CacheClient) -> None:
        """An empty entry is a hit: negative answers are cached like any other."""
        await cache.set("video", "v1", b"")

        hit = await cache.get("video", "v1")

        assert isinstance(hit, Hit)
        assert hit.value == b""

    async def test_the_largest_value_comes_back(self, cache: CacheClient) -> None:
        """1 MiB is within the limit."""
        value = bytes(range(256)) * 4096
        await cache.set("video", "v1", value)

        hit = await cache.get("video", "v1")

        assert isinstance(hit, Hit)
        assert value == hit.value


class TestUnreadable:
    async def test_foreign_bytes_are_a_miss_that_says_so(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """What another program left under our key is not given out."""
        await store.set(WHERE, b'{"title": "not a frame of ours, but long enough"}')

        assert await cache.get("video", "v1") == Miss(reason=MissReason.UNREADABLE)

    async def test_another_type_of_data_is_a_miss_and_the_next_set_repairs_it(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """A list under our key stops neither a read, nor a batch, nor a write.

        A batch is read by one MGET, which tells nothing of what is no string.
        """
        await store.rpush(WHERE, "x")

        one = await cache.get("video", "v1")
        many = await cache.get_many("video", ["v1"])
        await cache.set("video", "v1", b"repaired")

        assert (Miss(reason=MissReason.UNREADABLE), COLD) == (one, many["v1"])
        assert isinstance(await cache.get("video", "v1"), Hit)


class TestExpiry:
    @pytest.mark.parametrize(
        ("ttl", "ttl_class", "expected_ms"),
        [
            pytest.param(timedelta(milliseconds=90_500), None, 90_500, id="own ttl"),
            pytest.param(timedelta(days=366), None, 366 * 1440 * MINUTE_MS, id="longest ttl"),
            pytest.param(None, "video_metadata", 60 * MINUTE_MS, id="class"),
            pytest.param(None, None, 10 * MINUTE_MS, id="default class"),
        ],
    )
    async def test_an_entry_ends_when_it_was_told_to(
        self,
        cache: CacheClient,
        store: "redis.asyncio.Redis",
        ttl: timedelta | None,
        ttl_class: str | None,
        expected_ms: int,
    ) -> None:
        """Redis holds the lifetime, and the answers tell the same end."""
        written = await cache.set("video", "v1", b"v", ttl=ttl, ttl_class=ttl_class)
        remaining_ms = await store.pttl(WHERE)
        hit = await cache.get("video", "v1")

        shortest_ms = expected_ms * (1 - LARGEST_JITTER) if ttl is None else expected_ms
        assert shortest_ms - SLACK_MS < remaining_ms <= expected_ms
        assert isinstance(hit, Hit)
        assert hit.expire_time is not None
        lifetime_ms = (hit.expire_time - hit.create_time) / timedelta(milliseconds=1)
        assert shortest_ms <= lifetime_ms <= expected_ms
        assert written.expire_time == hit.expire_time

    async def test_an_entry_of_a_permanent_class_has_no_end(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Embeddings stay until they are evicted."""
        written = await cache.set("video", "v1", b"v", ttl_class="ai_embeddings")
        hit = await cache.get("video", "v1")

        assert await store.pttl(WHERE) == -1
        assert isinstance(hit, Hit)
        assert (None, None) == (written.expire_time, hit.expire_time)

    async def test_an_entry_that_has_ended_is_absent(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """The end is Redis's: once it has passed there, nothing is served."""
        await cache.set("video", "v1", b"v", ttl=timedelta(minutes=5))
        await store.pexpireat(WHERE, 1)

        assert isinstance(await cache.get("video", "v1"), Miss)

    async def test_a_wrong_clock_of_a_replica_ends_nothing(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """An entry that lives in Redis is served, whatever its frame says about its end."""
        await cache.set("video", "v1", b"v", ttl=timedelta(minutes=5))
        entry = decode(await stored(store))
        assert entry is not None
        await store.set(WHERE, encode(entry._replace(create_ms=1, expiry_ms=2)))

        assert isinstance(await cache.get("video", "v1"), Hit)


class TestSet:
    async def test_the_last_write_replaces_value_version_and_expiry(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Nothing of the old entry stays, its lifetime included."""
        first = await cache.set("video", "v1", b"old", ttl_class="user_plan", content_type="a/b")
        second = await cache.set("video", "v1", b"new", ttl_class="ai_embeddings")
        hit = await cache.get("video", "v1")

        assert first.version != second.version
        assert isinstance(hit, Hit)
        assert (b"new", "", second.version) == (hit.value, hit.content_type, hit.version)
        assert await store.pttl(WHERE) == -1

    async def test_namespaces_are_apart(self, cache: CacheClient) -> None:
        """The same key in two namespaces is two entries."""
        await cache.set("video", "k", b"video")
        await cache.set("plan", "k", b"plan")

        video = await cache.get("video", "k")

        assert isinstance(video, Hit)
        assert video.value == b"video"


class TestDelete:
    async def test_removes_the_entry_and_says_that_it_was_there(self, cache: CacheClient) -> None:
        """A second removal succeeds too, and finds nothing."""
        await cache.set("video", "v1", b"v")

        answers = [await cache.delete("video", "v1"), await cache.delete("video", "v1")]

        assert answers == [True, False]
        assert await cache.get("video", "v1") == Miss(reason=MissReason.INVALIDATED_BY_KEY)


class TestConditions:
    async def test_only_if_absent(self, cache: CacheClient) -> None:
        """The first wins; a removed entry is none."""
        await cache.set("video", "v1", b"first", if_absent=True)
        with pytest.raises(ConflictError) as caught:
            await cache.set("video", "v1", b"second", if_absent=True)
        await cache.delete("video", "v1")
        await cache.set("video", "v1", b"third", if_absent=True)

        hit = await cache.get("video", "v1")

        assert caught.value.reason == "CONDITION_UNMET"
        assert isinstance(hit, Hit)
        assert hit.value == b"third"

    async def test_only_if_present(self, cache: CacheClient) -> None:
        """What was invalidated by a tag is not there any more, though its bytes are."""
        with pytest.raises(ConflictError):
            await cache.set("video", "v1", b"v", if_present=True)
        await cache.set("video", "v1", b"first", tags=["t"])
        await cache.set("video", "v1", b"second", if_present=True, tags=["t"])
        await cache.invalidate_tags(["t"])

        with pytest.raises(ConflictError):
            await cache.set("video", "v1", b"third", if_present=True)

    async def test_only_one_of_many_writers_of_a_version_wins(self, cache: CacheClient) -> None:
        """Compare and set, for those who read, change and write back."""
        first = await cache.set("video", "v1", b"first")
        writes = (
            cache.set("video", "v1", str(n).encode(), if_version=first.version) for n in range(20)
        )

        results = await asyncio.gather(*writes, return_exceptions=True)

        assert 1 == sum(isinstance(result, Written) for result in results)
        assert 19 == sum(isinstance(result, ConflictError) for result in results)


class TestSetMany:
    async def test_each_is_written_by_itself(self, cache: CacheClient) -> None:
        """One whose condition does not hold leaves the others alone."""
        await cache.set("video", "there", b"old")
        items = [
            Item(key="there", value=b"new", if_absent=True),
            Item(key="new", value=b"v", content_type="a/b"),
        ]

        results = await cache.set_many("video", items)
        found = await cache.get_many("video", ["there", "new"])

        assert isinstance(results["new"], Written)
        refused = results["there"]
        assert isinstance(refused, Refused)
        assert refused.error.reason == "CONDITION_UNMET"
        assert [b"old", b"v"] == [r.value for r in found.values() if isinstance(r, Hit)]


class TestDeleteMany:
    async def test_tells_for_each_whether_it_was_there(self, cache: CacheClient) -> None:
        """And removes them all."""
        await cache.set("video", "there", b"v")

        removed = await cache.delete_many("video", ["there", "absent"])

        assert {"there": True, "absent": False} == removed
        assert isinstance(await cache.get("video", "there"), Miss)


class TestTouch:
    async def test_it_lives_longer_and_is_the_same(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Neither value nor version change, and a copy of it stays right."""
        written = await cache.set("video", "v1", b"v", ttl=timedelta(minutes=1))

        touched = await cache.touch("video", "v1", ttl=timedelta(minutes=9))
        hit = await cache.get("video", "v1")

        assert touched.existed
        assert isinstance(hit, Hit)
        assert (b"v", written.version, touched.expire_time) == (
            hit.value,
            hit.version,
            hit.expire_time,
        )
        assert await store.pttl(WHERE) > 8 * MINUTE_MS

    async def test_what_is_not_there_is_not_made(self, cache: CacheClient) -> None:
        """Nor is what was invalidated brought back to life."""
        await cache.set("video", "dead", b"v", tags=["t"])
        await cache.invalidate_tags(["t"])

        touched = await cache.touch_many("video", ["absent", "dead"], ttl=timedelta(minutes=9))

        assert [False, False] == [t.existed for t in touched.values() if isinstance(t, Touched)]
        assert Miss(reason=MissReason.INVALIDATED_BY_TAG) == await cache.get("video", "dead")

    async def test_an_entry_without_end_is_not_given_one(self, cache: CacheClient) -> None:
        """It would go on counting as one that makes room for others; nor the other way round."""
        await cache.set("video", "permanent", b"v", ttl_class="ai_embeddings")
        await cache.set("video", "ends", b"v")

        with pytest.raises(PreconditionError, match="write it anew"):
            await cache.touch("video", "permanent", ttl=timedelta(minutes=1))
        with pytest.raises(PreconditionError, match="write it anew"):
            await cache.touch("video", "ends", ttl_class="ai_embeddings")


class TestGetMany:
    async def test_answers_every_key(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """Hits and misses of both kinds stand side by side."""
        await cache.set("video", "there", b"v", content_type="a/b")
        await store.set(entry_key("acme", "video", "broken"), b"x")

        found = await cache.get_many("video", ["there", "absent", "broken", "there"])

        assert found == {
            "there": await cache.get("video", "there"),
            "absent": COLD,
            "broken": Miss(reason=MissReason.UNREADABLE),
        }

    async def test_a_thousand_keys_keep_their_values(self, cache: CacheClient) -> None:
        """The largest batch, read in parts, mixes nothing up."""
        keys = [f"k{number}" for number in range(1000)]
        for key in keys[::50]:
            await cache.set("video", key, key.encode())

        found = await cache.get_many("video", keys)

        assert keys == list(found)
        assert {key: key.encode() for key in keys[::50]} == {
            key: result.value for key, result in found.items() if isinstance(result, Hit)
        }

    async def test_no_keys_need_no_call(self, cache: CacheClient) -> None:
        """The client answers an empty question itself."""
        assert await cache.get_many("video", []) == {}


async def stored(store: "redis.asyncio.Redis") -> bytes:
    """Return the bytes that lie under the key."""
    frame = await store.get(WHERE)
    assert isinstance(frame, bytes)
    return frame


def _now() -> datetime:
    # Times travel in whole milliseconds, rounded down.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
