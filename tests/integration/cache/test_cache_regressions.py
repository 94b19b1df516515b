"""Faults that other caches had, by name: none of them may ever be ours."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest
import redis.asyncio

from mainstay.cache import CacheClient, FillOutcome, Hit, Item, Miss, MissReason, Offer, Refused
from mainstay.channel import Channel
from tests.integration.cache.conftest import TENANT
from tests.integration.shared.waiting import PATIENCE

Store = redis.asyncio.Redis
ServeCache = Callable[..., AbstractAsyncContextManager[Channel]]

NAMESPACE = "video"
BATCH = 500
# Nothing here grows with the number, so that it need not be the million of the report.
SHORT_LIVED = 10_000
HOUR, MOMENT = timedelta(hours=1), timedelta(milliseconds=50)


async def read(cache: CacheClient, key: str) -> bytes | MissReason:
    """Return the value, or why there is none."""
    found = await cache.get(NAMESPACE, key)
    return found.reason if isinstance(found, Miss) else found.value


async def until_gone(cache: CacheClient, key: str) -> None:
    """Wait for the end of an entry."""
    async with asyncio.timeout(PATIENCE):
        while isinstance(await cache.get(NAMESPACE, key), Hit):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class TestTags:
    async def test_short_lived_entry_hides_long_lived_one(self, cache: CacheClient) -> None:
        """In cashews the end of an entry with a tag ended what was known of the tag."""
        await cache.set(NAMESPACE, "long", b"v", ttl=HOUR, tags=["t"])
        await cache.set(NAMESPACE, "short", b"v", ttl=MOMENT, tags=["t"])
        await until_gone(cache, "short")
        before = await read(cache, "long")
        await cache.invalidate_tags(["t"])

        assert (b"v", MissReason.INVALIDATED_BY_TAG) == (before, await read(cache, "long"))

    async def test_orphans(self, redis_url: str, serve_cache: ServeCache, store: Store) -> None:
        """Sets of keys by tag kept the keys of entries long after their end (mage-os #283)."""
        async with serve_cache(redis_url, redis_timeout=5.0) as channel:
            cache = CacheClient(channel)
            refused = await _write_short_lived(cache, 0)
            first = await _own_memory(store)
            for number in range(1, SHORT_LIVED // BATCH):
                refused += await _write_short_lived(cache, number)
            meanwhile = await _own_memory(store)
            async with asyncio.timeout(30):
                # Redis removes what has ended by and by.
                while await _count_entries(store):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        assert [] == refused
        assert first.keys() == meanwhile.keys()
        assert sum(meanwhile.values()) < sum(first.values()) + 20_000


async def _write_short_lived(cache: CacheClient, number: int) -> list[object]:
    """Write a batch whose entries each have a tag of their own and one that others have."""
    items = [
        Item(key=f"{n}", value=b"v", ttl=timedelta(seconds=1), tags=(f"only-{n}", f"all-{n % 7}"))
        for n in range(number * BATCH, (number + 1) * BATCH)
    ]
    written = await cache.set_many(NAMESPACE, items)
    return [result for result in written.values() if isinstance(result, Refused)]


async def _count_entries(store: Store) -> int:
    keys = [key async for key in store.scan_iter(match=f"{{{TENANT}:cache:*", count=10_000)]
    return len(keys)


async def _own_memory(store: Store) -> dict[bytes, int]:
    """Return the bytes of everything that Redis holds beside the entries."""
    keys = [key async for key in store.scan_iter(match=f"{{{TENANT}:cache}}:*", count=10_000)]
    sizes = {key: await store.memory_usage(key, samples=0) for key in keys}
    return {key: size for key, size in sizes.items() if size and b":stats:" not in key}


UNDOINGS = {
    "delete": (lambda cache: cache.delete(NAMESPACE, "k"), FillOutcome.LEASE_LOST),
    "keys": (lambda cache: cache.invalidate_keys(NAMESPACE, ["k"]), FillOutcome.LEASE_LOST),
    "tags": (lambda cache: cache.invalidate_tags(["t"]), FillOutcome.INVALIDATED),
    "prefix": (lambda cache: cache.invalidate_prefix(NAMESPACE, "k"), FillOutcome.INVALIDATED),
    "namespace": (lambda cache: cache.invalidate_namespace(NAMESPACE), FillOutcome.INVALIDATED),
}


class TestLateFill:
    @pytest.mark.parametrize(
        ("undo", "expected"), [pytest.param(*case, id=name) for name, case in UNDOINGS.items()]
    )
    async def test_after_an_invalidation(
        self,
        cache: CacheClient,
        undo: Callable[[CacheClient], Awaitable[object]],
        expected: FillOutcome,
    ) -> None:
        """A value that was computed before is not stored after: memcached's stale sets."""
        lease = (await cache.get_or_lease(NAMESPACE, "k")).lease
        assert lease is not None
        await undo(cache)
        filled = await cache.fill(lease, b"old", ttl=HOUR, tags=["t"])

        assert expected is filled.outcome
        assert isinstance(await read(cache, "k"), MissReason)

    async def test_after_a_newer_value(self, cache: CacheClient) -> None:
        """Nor is a newer value replaced by it."""
        lease = (await cache.get_or_lease(NAMESPACE, "k")).lease
        assert lease is not None
        await cache.set(NAMESPACE, "k", b"new")
        filled = await cache.fill(lease, b"old")

        assert FillOutcome.LEASE_LOST is filled.outcome
        assert b"new" == await read(cache, "k")


class TestMessages:
    async def test_that_are_lost(
        self, redis_url: str, cache: CacheClient, serve_cache: ServeCache, store: Store
    ) -> None:
        """Pub/sub delivers at most once; another replica is right without it, at once."""
        async with serve_cache(redis_url) as channel:
            there, seen = CacheClient(channel), []
            for number in range(20):
                await cache.set(NAMESPACE, "k", b"%d" % number, tags=["t"])
                seen.append(await read(there, "k"))
                await store.client_kill_filter(_type="pubsub")
                await cache.invalidate_tags(["t"])
                seen.append(await read(there, "k"))

        wanted = [(b"%d" % number, MissReason.INVALIDATED_BY_TAG) for number in range(20)]
        assert [part for pair in wanted for part in pair] == seen


class TestClear:
    async def test_takes_everything(self, cache: CacheClient) -> None:
        """The clear of aiocache looked at one page of keys and forgot that there were more."""
        keys = [f"k{number}" for number in range(1_000)]
        await cache.set_many(NAMESPACE, [Item(key=key, value=b"v") for key in keys])
        await cache.set("other", "k1", b"v")
        await cache.invalidate_namespace(NAMESPACE)
        found = await cache.get_many(NAMESPACE, keys)

        assert {Miss(reason=MissReason.INVALIDATED_BY_NAMESPACE)} == set(found.values())
        assert isinstance(await cache.get("other", "k1"), Hit)


class TestCancelledCalls:
    async def test_shift_no_answers(self, cache: CacheClient) -> None:
        """In redis-py a call that was cancelled left its reply to the next caller (#2624)."""
        keys = [f"k{number}" for number in range(100)]
        items = [Item(key=key, value=key.encode(), ttl=HOUR) for key in keys]
        await cache.set_many(NAMESPACE, items)
        chance, wrong, cancelled = random.Random(7), [], 0
        for _ in range(15):
            calls = {key: asyncio.create_task(_any_read(cache, key, chance)) for key in keys}
            for key in chance.sample(keys, 40):
                asyncio.get_running_loop().call_later(chance.random() / 20, calls[key].cancel)
            await asyncio.wait(calls.values())
            ended = {key: call for key, call in calls.items() if not call.cancelled()}
            cancelled += len(calls) - len(ended)
            wrong += [key for key, call in ended.items() if call.result() != key.encode()]

        assert [] == wrong
        assert cancelled > 50
        assert [b"k0", b"k99"] == [await read(cache, "k0"), await read(cache, "k99")]


async def _any_read(cache: CacheClient, key: str, chance: random.Random) -> bytes | None:
    """Read an entry in one of the ways that there are."""
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: cache.get(NAMESPACE, key),
        lambda: cache.get_or_lease(NAMESPACE, key),
        lambda: cache.get_many(NAMESPACE, [key]),
    ]
    answer = await chance.choice(ways)()
    found = answer.found if isinstance(answer, Offer) else answer
    found = found[key] if isinstance(found, dict) else found
    return found.value if isinstance(found, Hit) else None
