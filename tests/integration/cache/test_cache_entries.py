"""Entries: written, read back, ended, replaced and removed, over gRPC and a real Redis."""

from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio

from mainstay.cache.client import CacheClient, Hit, Miss, MissReason
from services.cache.entry import Entry
from services.cache.frame import encode
from services.cache.keys import entry_key

ABSENT = Miss(reason=MissReason.ABSENT)
WHERE = entry_key("acme", "video", "v1")
MINUTE_MS = 60_000
# Between the write and the look at Redis some time passes; half a minute on a busy machine.
SLACK_MS = 30_000


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
        assert await cache.get("video", "v1") == ABSENT

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
        """A list under our key stops neither a read, nor a batch, nor a write."""
        await store.rpush(WHERE, "x")

        one = await cache.get("video", "v1")
        many = await cache.get_many("video", ["v1"])
        await cache.set("video", "v1", b"repaired")

        assert one == many["v1"] == Miss(reason=MissReason.UNREADABLE)
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

        assert expected_ms - SLACK_MS < remaining_ms <= expected_ms
        assert isinstance(hit, Hit)
        assert hit.create_time + timedelta(milliseconds=expected_ms) == hit.expire_time
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

        assert await cache.get("video", "v1") == ABSENT

    async def test_a_wrong_clock_of_a_replica_ends_nothing(
        self, cache: CacheClient, store: "redis.asyncio.Redis"
    ) -> None:
        """An entry that lives in Redis is served, whatever its frame says about its end."""
        ended_in_1970 = Entry(
            value=b"v", content_type="", version=1, create_ms=1, soft_expiry_ms=None, expiry_ms=2
        )
        await store.set(WHERE, encode(ended_in_1970))

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
        assert await cache.get("video", "v1") == ABSENT


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
            "absent": ABSENT,
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


def _now() -> datetime:
    # Times travel in whole milliseconds, rounded down.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
