"""The books of what tenants hold: bounds, overwriting, expiry without a scan, what is lost."""

import asyncio

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, QuotaError
from services.cache.entry import Kind
from services.cache.keys import tenant_key
from services.cache.policy import Quota
from services.cache.quota import bucket_end, charged_bytes
from services.cache.usage_metrics import settlements_dropped
from shared.redis.client import Redis
from tests.integration.cache.bookkeeping import TENANT, Bookkeeping, charged, name, policies


class TestBounds:
    async def test_the_entry_beyond_the_bound_is_refused(self, redis_url: str) -> None:
        """The error names the quota, and what was refused is not booked."""
        async with Bookkeeping.on(redis_url, policies(Quota(max_entries=2))) as books:
            await books.write("a", 10)
            await books.write("b", 10)

            with pytest.raises(QuotaError) as refused:
                await books.write("c", 10)

            assert {"entries"} == set(refused.value.violations)
            assert "2 of 2 are used and this needs 1" in refused.value.message
            assert 2 == (await books.used())["entries"]

    async def test_bytes_are_bounded_too(self, redis_url: str) -> None:
        """What counts is what an entry takes in Redis, not its value alone."""
        room = charged(["a"], 1_000) + charged(["b"], 1_000) - 1
        async with Bookkeeping.on(redis_url, policies(Quota(max_bytes=room))) as books:
            await books.write("a", 1_000)

            with pytest.raises(QuotaError) as refused:
                await books.write("b", 1_000)
            await books.write("b", 900)

            assert {"bytes"} == set(refused.value.violations)
            assert charged(["a"], 1_000) + charged(["b"], 900) == (await books.used())["bytes"]

    async def test_a_bound_is_the_tenants_own(self, redis_url: str) -> None:
        """One that is full leaves all the room to others."""
        async with Bookkeeping.on(redis_url, policies(Quota(max_entries=1))) as books:
            await books.write("a", 10)
            other = name("a")._replace(tenant="acme}:x")

            await books.usage.admit(other, books.entry("a", 10))

            assert 1 == (await books.used())["entries"]

    async def test_concurrent_writers_do_not_pass_the_bound(self, redis_url: str) -> None:
        """Checking and booking are one step."""
        async with Bookkeeping.on(redis_url, policies(Quota(max_entries=10))) as books:
            writes = (books.write(f"k{n}", 10) for n in range(50))

            results = await asyncio.gather(*writes, return_exceptions=True)

            assert 40 == sum(isinstance(result, QuotaError) for result in results)
            assert 10 == (await books.used())["entries"]


class TestReplacing:
    async def test_a_full_tenant_may_overwrite(self, redis_url: str) -> None:
        """What an entry replaces takes no room, again and again and before anything is settled."""
        async with Bookkeeping.on(redis_url, policies(Quota(max_entries=1))) as books:
            for _ in range(5):
                await books.write("a", 10)

            assert 1 == (await books.used())["entries"]

    async def test_what_is_replaced_or_removed_is_taken_off(self, redis_url: str) -> None:
        """After settling the books hold what is there."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            await books.write("a", 10)
            await books.write("a", 500)
            await books.write("b", 10)
            await books.remove("b")

            assert {"entries": 1, "bytes": charged(["a"], 500)} == await books.used()

    async def test_a_tombstone_costs_nothing(self, redis_url: str) -> None:
        """Writing over one does not take off what was taken off before."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            tombstone = books.entry("a", 0)._replace(kind=Kind.TOMBSTONE)
            await books.write("a", 10)

            books.usage.settle(name("a"), tombstone)

            assert 1 == (await books.used())["entries"]

    async def test_an_entry_that_grows_and_shrinks_stays_one(self, redis_url: str) -> None:
        """Only its bytes change; growing is bounded as writing is."""
        room = charged(["a"], 100) + 50
        async with Bookkeeping.on(redis_url, policies(Quota(max_bytes=room))) as books:
            entry = await books.write("a", 100)
            await books.usage.grow(name("a"), entry, 50)

            with pytest.raises(QuotaError):
                await books.usage.grow(name("a"), entry, 1)
            books.usage.shrink(name("a"), entry, 20)
            await books.usage.grow(name("a"), entry, 20)

            assert {"entries": 1, "bytes": room} == await books.used()


class TestTime:
    async def test_what_has_ended_counts_no_longer(self, redis_url: str) -> None:
        """Nobody looks at entries: their bucket's end passes, and it is off the totals."""
        async with Bookkeeping.on(redis_url, policies(Quota(max_entries=2))) as books:
            short = await books.write("short", 10, ttl_ms=60_000)
            await books.write("long", 10, ttl_ms=3_600_000)
            assert short.expiry_ms is not None
            end = bucket_end(short.create_ms, short.expiry_ms)

            books.settlements.clock = end - 1
            with pytest.raises(QuotaError):
                await books.write("more", 10)
            books.settlements.clock = end
            await books.write("more", 10)

            assert 2 == (await books.used())["entries"]

    async def test_an_ended_bucket_ignores_what_is_settled_late(self, redis_url: str) -> None:
        """Its entries were taken off with it; nothing is taken off twice."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            entry = await books.write("short", 10, ttl_ms=1_000)
            await books.write("long", 10)
            books.settlements.clock = books.now_ms // 1000 + 10
            assert 1 == (await books.used())["entries"]

            books.usage.settle(name("short"), entry)

            assert {"entries": 1, "bytes": charged(["long"], 10)} == await books.used()
            fields = await books.redis.execute("HLEN", tenant_key(TENANT, "usage"))
            assert 5 == fields, "totals, the next end, and one bucket"

    async def test_nothing_is_taken_off_twice(self, redis_url: str) -> None:
        """What a bucket never held cannot be taken out of it, nor off the totals."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            entry = await books.write("short", 10, ttl_ms=60_000)
            await books.write("long", 10)

            for _ in range(3):
                books.usage.settle(name("short"), entry)

            assert {"entries": 1, "bytes": charged(["long"], 10)} == await books.used()

    async def test_a_writer_that_meets_an_ended_bucket_has_it_rolled_up(
        self, redis_url: str
    ) -> None:
        """The totals of a tenant that is never refused stay right, in whatever order it ends."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            await books.write("long", 10)
            await books.write("short", 10, ttl_ms=1_000)
            books.settlements.clock = books.now_ms // 1000 + 10
            await books.write("long", 10)

            await books.settlements.flush_once()

            entries = await books.redis.execute("HGET", tenant_key(TENANT, "usage"), "entries")
            assert b"1" == entries

    async def test_a_year_of_buckets_ends_at_once(self, redis_url: str) -> None:
        """A tenant that was silent for long comes back to empty books that leave nothing behind."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            for n in range(200):
                await books.usage.admit(name(f"k{n}"), books.entry("k", 1, ttl_ms=1_000 * (n + 1)))
            books.settlements.clock = books.now_ms // 1000 + 400 * 86_400

            assert {"entries": 0, "bytes": 0} == await books.used()

            fields = await books.redis.execute("HKEYS", tenant_key(TENANT, "usage"))
            assert {b"entries", b"bytes"} == set(fields)
            assert 0 == await books.redis.execute("EXISTS", tenant_key(TENANT, "ends"))


class TestSettling:
    async def test_waits_for_nobody_and_counts_what_it_drops(self, redis_url: str) -> None:
        """A full buffer leaves the books too high, never too low."""
        async with Bookkeeping.on(redis_url, policies(), max_pending=2) as books:
            entries = [await books.write(f"k{n}", 10, ttl_ms=600_000 * (n + 1)) for n in range(3)]
            before = settlements_dropped._value.get()

            for n, entry in enumerate(entries):
                books.usage.settle(name(f"k{n}"), entry)

            assert 1 == settlements_dropped._value.get() - before
            assert 1 == (await books.used())["entries"]

    async def test_entries_of_one_bucket_take_one_place(self, redis_url: str) -> None:
        """A flood of overwrites does not fill the buffer."""
        async with Bookkeeping.on(redis_url, policies(), max_pending=1) as books:
            for _ in range(100):
                await books.write("a", 10)

            assert 1 == (await books.used())["entries"]

    async def test_the_background_task_settles_what_is_left_when_it_ends(
        self, redis_url: str
    ) -> None:
        """A drained replica leaves nothing on the books."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            running = asyncio.create_task(books.usage.run())
            await books.write("a", 10)
            await books.remove("a")
            await asyncio.sleep(0)

            running.cancel()
            await asyncio.wait({running}, timeout=5)

            entries = await books.redis.execute("HGET", tenant_key(TENANT, "usage"), "entries")
            assert b"0" == entries

    async def test_a_redis_that_is_gone_costs_what_was_collected(
        self, private_redis: RedisServer
    ) -> None:
        """It is said and counted; it may have been done, so it is not done again."""
        async with Bookkeeping.on(private_redis.url, policies()) as books:
            await books.write("a", 10)
            await books.remove("a")
            before = settlements_dropped._value.get()
            await private_redis.stop()

            with pytest.raises(CacheError):
                await books.settlements.flush_once()

            assert 1 == settlements_dropped._value.get() - before


class TestChargedBytes:
    @pytest.mark.parametrize("size", [0, 100, 500, 1_000, 6_000])
    async def test_are_about_what_redis_uses(self, redis_url: str, size: int) -> None:
        """Within a quarter below and above, for entries of any size."""
        async with Bookkeeping.on(redis_url, policies()) as books:
            await books.write("warm", size)
            before = await _used_memory(books.redis)
            keys = [f"{n:030d}" for n in range(5_000)]

            for start in range(0, len(keys), 500):
                puts = (
                    books.store.put(name(key), books.entry(key, size), 3_600_000)
                    for key in keys[start : start + 500]
                )
                await asyncio.gather(*puts)

            used = (await _used_memory(books.redis) - before) / len(keys)
            assert 0.75 < charged_bytes(name(keys[0]), size) / used < 1.25


async def _used_memory(redis: Redis) -> int:
    text = (await redis.execute("INFO", "memory")).decode()
    (line,) = (line for line in text.splitlines() if line.startswith("used_memory:"))
    return int(line.partition(":")[2])
