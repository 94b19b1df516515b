"""Permanent classes: what was not used for longest makes room, and nothing else ever does."""

import asyncio

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import QuotaError
from services.cache.entry import Kind, MissReason
from services.cache.history import Change
from services.cache.keys import entry_key, tenant_key
from services.cache.permanent_books import class_key, member
from services.cache.policy import Quota
from services.cache.quota import charged_bytes, of_class
from services.cache.redis_store import EVICTED_TOMBSTONE_MS
from services.cache.usage_metrics import evictions
from tests.integration.cache.bookkeeping import TENANT, Bookkeeping, charged, name, policies

ONE = charged_bytes(name("k"), 1_000, permanent=True)


async def write(books: Bookkeeping, key: str, size: int = 1_000) -> None:
    """Write a permanent entry of the class `embeddings`."""
    await books.write(key, size, ttl_ms=None, ttl_class="embeddings")


async def living(books: Bookkeeping, keys: str) -> str:
    """Return those of some one-letter keys under which an entry can be read."""
    return "".join([key for key in keys if await books.lives(key)])


class TestMakingRoom:
    async def test_the_least_recently_used_goes(self, redis_url: str) -> None:
        """A read is a use; the entry itself never goes for itself."""
        async with Bookkeeping.on(redis_url, policies(embeddings=3 * ONE)) as books:
            for key in "abc":
                await write(books, key)
            books.now_ms += 60_000
            await books.read("a")
            await books.recency.flush_once()

            counted = evictions.labels("embeddings")._value.get()
            await write(books, "d")

            assert "acd" == await living(books, "abcd")
            assert 1 == evictions.labels("embeddings")._value.get() - counted
            assert 3 * ONE == (await books.used())[of_class("embeddings")]

    async def test_a_write_is_a_use(self, redis_url: str) -> None:
        """Overwriting takes no room and makes an entry the youngest."""
        async with Bookkeeping.on(redis_url, policies(embeddings=3 * ONE)) as books:
            for key in "abca":
                await write(books, key)
                await asyncio.sleep(0.002)  # the index counts in milliseconds of Redis's clock
            assert "abc" == await living(books, "abc")

            await write(books, "d")

            assert "acd" == await living(books, "abcd")

    async def test_a_large_entry_takes_the_place_of_many(self, redis_url: str) -> None:
        """More than one round of victims, if it has to be."""
        async with Bookkeeping.on(redis_url, policies(embeddings=60 * ONE)) as books:
            for n in range(60):
                await write(books, f"{n:01x}"[-1] + str(n))

            await books.write("large", 55_000, ttl_ms=None, ttl_class="embeddings")

            used = await books.used()
            assert await books.lives("large")
            assert 60 * ONE >= used[of_class("embeddings")] > 55_000

    async def test_an_entry_for_which_there_never_is_room_is_refused(self, redis_url: str) -> None:
        """And nothing goes for it."""
        async with Bookkeeping.on(redis_url, policies(embeddings=2 * ONE)) as books:
            await write(books, "a")

            with pytest.raises(QuotaError) as refused:
                await write(books, "b", 10_000)

            assert {"bytes of class embeddings"} == set(refused.value.violations)
            assert "store less" in refused.value.message
            assert "a" == await living(books, "ab")

    async def test_classes_do_not_evict_each_other(self, redis_url: str) -> None:
        """Each has its own budget."""
        async with Bookkeeping.on(redis_url, policies(embeddings=2 * ONE, models=ONE)) as books:
            await books.write("m", 1_000, ttl_ms=None, ttl_class="models")
            for key in "abc":
                await write(books, key)

            assert "bcm" == await living(books, "abcm")

    async def test_a_class_evicts_no_entry_that_was_its_own(self, redis_url: str) -> None:
        """One that was written anew in another class is that one's, in the books too."""
        async with Bookkeeping.on(redis_url, policies(embeddings=2 * ONE, models=ONE)) as books:
            await write(books, "m")
            await books.write("m", 1_000, ttl_ms=None, ttl_class="models")
            for key in "abc":
                await write(books, key)

            assert "bcm" == await living(books, "abcm")
            used = await books.used()
            assert (2 * ONE, ONE) == (used[of_class("embeddings")], used[of_class("models")])

    async def test_a_full_tenant_gives_up_entries_of_the_class(self, redis_url: str) -> None:
        """The tenant's own bounds make room as the class's budget does; what has an end stays."""
        given = policies(Quota(max_entries=3), embeddings=None)
        async with Bookkeeping.on(redis_url, given) as books:
            await books.write("t", 10)
            for key in "abc":
                await write(books, key)

            assert "bct" == await living(books, "abct")
            await books.remove("b")
            await books.remove("c")
            await books.write("u", 10)
            await books.write("v", 10)
            with pytest.raises(QuotaError) as refused:
                await write(books, "d")
            assert {"entries"} == set(refused.value.violations)

    async def test_concurrent_writers_stay_within_the_budget(self, redis_url: str) -> None:
        """Room is made before it is taken, whoever comes first."""
        async with Bookkeeping.on(redis_url, policies(embeddings=20 * ONE)) as books:
            await asyncio.gather(*(write(books, f"k{n}") for n in range(10)))
            await asyncio.gather(*(write(books, f"k{n}") for n in range(10, 99)))

            used = await books.used()
            lives = [n for n in range(99) if await books.lives(f"k{n}")]
            assert used["entries"] == len(lives)
            assert (
                20 * ONE
                >= used[of_class("embeddings")]
                == charged([f"k{n}" for n in lives], 1_000, permanent=True)
            )

    async def test_clients_are_told_of_copies_that_were_evicted(self, redis_url: str) -> None:
        """What is written anew under the name must not meet an old copy near a client."""
        async with Bookkeeping.on(redis_url, policies(embeddings=2 * ONE)) as books:
            before = (await books.histories.current(TENANT)).sequence
            await books.write("a", 1_000, ttl_ms=None, ttl_class="embeddings", near=True)
            for key in "bc":
                await write(books, key)

            tail = await books.log.tail(TENANT, before)
            told = [_entries(change) for change in tail.changes]

            assert [(("video", "a"),)] == told


def _entries(change: Change) -> tuple[tuple[str, str], ...]:
    return change.entries


class TestBooks:
    async def test_what_was_replaced_or_removed_is_off_the_books(self, redis_url: str) -> None:
        """Nothing is left of a removed name, in no index."""
        async with Bookkeeping.on(redis_url, policies(embeddings=9 * ONE)) as books:
            await write(books, "a")
            await write(books, "a", 500)
            await write(books, "b")
            await books.remove("b")

            bytes_used = charged(["a"], 500, permanent=True)
            expected = {"entries": 1, "bytes": bytes_used, of_class("embeddings"): bytes_used}
            assert expected == await books.used()
            index = await books.redis.execute("ZRANGE", class_key(TENANT, "embeddings"), 0, -1)
            assert [member(name("a"))] == index
            assert 1 == await books.redis.execute("HLEN", tenant_key(TENANT, "held"))

    async def test_a_write_that_did_not_take_place_leaves_what_was_there(
        self, redis_url: str
    ) -> None:
        """A refused fill over a living entry is settled, and the entry stays on the books."""
        async with Bookkeeping.on(redis_url, policies(embeddings=9 * ONE)) as books:
            await write(books, "a")
            unwritten = books.entry("a", 2_000, ttl_ms=None, ttl_class="embeddings")
            await books.usage.admit(name("a"), unwritten)

            books.usage.settle(name("a"), unwritten)

            assert ONE == (await books.used())[of_class("embeddings")]
            index = await books.redis.execute("ZRANGE", class_key(TENANT, "embeddings"), 0, -1)
            assert [member(name("a"))] == index

    async def test_what_was_booked_but_never_written_makes_room_too(self, redis_url: str) -> None:
        """A writer that was killed leaves nothing for ever: its turn to go comes."""
        async with Bookkeeping.on(redis_url, policies(embeddings=3 * ONE)) as books:
            ghost = books.entry("g", 1_000, ttl_ms=None, ttl_class="embeddings")
            await books.usage.admit(name("g"), ghost)
            await asyncio.sleep(0.002)  # the index counts in milliseconds of Redis's clock
            for key in "abc":
                await write(books, key)

            assert "abc" == await living(books, "gabc")
            assert 3 * ONE == (await books.used())[of_class("embeddings")]

    async def test_an_eviction_spares_what_is_another_entry_now(self, redis_url: str) -> None:
        """A name that was written with an end meanwhile is not the class's to evict."""
        async with Bookkeeping.on(redis_url, policies(embeddings=2 * ONE)) as books:
            await write(books, "a")
            entry = books.entry("a", 10)
            await books.usage.admit(name("a"), entry)
            await books.store.put(name("a"), entry, 3_600_000)  # killed before it settled
            for key in "bc":
                await write(books, key)

            assert "abc" == await living(books, "abc")
            assert 2 * ONE == (await books.used())[of_class("embeddings")]

    async def test_a_list_that_grew_is_evicted_whole(self, redis_url: str) -> None:
        """It has another version than when it was booked, but is the same list."""
        async with Bookkeeping.on(redis_url, policies(embeddings=3 * ONE)) as books:
            entry = books.entry("a", 1_000, ttl_ms=None, ttl_class="embeddings")
            items = entry._replace(kind=Kind.LIST, value=b"")
            await books.usage.admit(name("a"), items)
            await books.usage.grow(name("a"), items, 100)
            await books.store.put(name("a"), items._replace(version=99_999), None)
            await asyncio.sleep(0.002)  # the index counts in milliseconds of Redis's clock
            for key in "bcd":
                await write(books, key)

            assert "bcd" == await living(books, "abcd")
            assert 3 * ONE == (await books.used())[of_class("embeddings")]

    async def test_books_that_were_lost_are_found_again(self, redis_url: str) -> None:
        """A Redis that lost a tenant's slot keeps entries that nothing would ever evict."""
        async with Bookkeeping.on(redis_url, policies(embeddings=3 * ONE)) as books:
            entry = await books.write("a", 1_000, ttl_ms=None, ttl_class="embeddings")
            for part in ("usage", "held", "lru:embeddings"):
                await books.redis.execute("DEL", tenant_key(TENANT, part))

            books.usage.found(name("a"), entry)
            books.usage.found(name("a"), entry)

            assert {"entries": 1, "bytes": ONE, of_class("embeddings"): ONE} == await books.used()

    async def test_a_read_of_what_is_gone_brings_nothing_back(self, redis_url: str) -> None:
        """Reads that were noted before a removal are written after it."""
        async with Bookkeeping.on(redis_url, policies(embeddings=9 * ONE)) as books:
            await write(books, "a")
            await books.read("a")
            await books.remove("a")
            await books.settlements.flush_once()

            await books.recency.flush_once()

            assert 0 == await books.redis.execute("EXISTS", class_key(TENANT, "embeddings"))


class TestUnderMemoryPressure:
    async def test_embeddings_never_cost_anything_else(self, private_redis: RedisServer) -> None:
        """Thousands of them pass through a full Redis: no error, and nothing of others is lost."""
        megabyte = 1024 * 1024
        budget = 8 * megabyte
        async with Bookkeeping.on(private_redis.url, policies(embeddings=budget)) as books:
            redis = books.redis
            await redis.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
            others = [f"other{n}" for n in range(200)]
            for key in others:
                await books.write(key, 1_000)
            await redis.execute("SET", "{counter}", "41")
            await redis.execute("CONFIG", "SET", "maxmemory", await _used(books) + 11 * megabyte)
            hot = [f"hot{n}" for n in range(20)]
            for key in hot:
                await write(books, key, 6_000)

            for batch in range(100):
                keys = [f"e{batch}.{n}" for n in range(50)]
                await asyncio.gather(*(write(books, key, 6_000) for key in keys))
                books.now_ms = await _redis_ms(books)
                for key in hot:
                    await books.read(key)
                await books.recency.flush_once()

            assert all([await books.lives(key) for key in others])
            assert all([await books.lives(key) for key in hot])
            assert not await books.lives("e0.0")
            assert 42 == await redis.execute("INCR", "{counter}")
            used = (await books.used())[of_class("embeddings")]
            assert 0.9 * budget < used <= budget

    async def test_an_evicted_entry_says_so(self, redis_url: str) -> None:
        """So that statistics can tell why it was missed; for a minute, for it takes room."""
        async with Bookkeeping.on(redis_url, policies(embeddings=ONE)) as books:
            await write(books, "a")
            await write(books, "b")

            found = await books.read("a")

            assert found is not None
            assert (Kind.TOMBSTONE, MissReason.EVICTED) == (found.kind, found.last_miss)
            left = await books.redis.execute("PTTL", entry_key(*name("a")))
            assert 0 < left <= EVICTED_TOMBSTONE_MS


async def _used(books: Bookkeeping) -> int:
    text = (await books.redis.execute("INFO", "memory")).decode()
    (line,) = (line for line in text.splitlines() if line.startswith("used_memory:"))
    return int(line.partition(":")[2])


async def _redis_ms(books: Bookkeeping) -> int:
    seconds, micros = await books.redis.execute("TIME")
    return int(seconds) * 1000 + int(micros) // 1000
