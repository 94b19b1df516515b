"""Counters: exact, atomic, ended when they should be."""

import asyncio

import pytest
import redis.asyncio

from mainstay.errors import PreconditionError, QuotaError, ValidationError
from services.cache.channels import WAKE
from services.cache.entry import Kind
from services.cache.keys import entry_key, items_key, lease_key
from services.cache.policy import InClass, Lifetime, Quota
from tests.integration.cache.bookkeeping import TENANT, name, policies
from tests.integration.cache.collecting_bench import Bench

HIGHEST, LOWEST = 2**63 - 1, -(2**63)


class TestIncrement:
    async def test_begins_with_its_initial_value(self, redis_url: str) -> None:
        """Before adding; later calls add to what is there."""
        async with Bench.on(redis_url) as bench:
            first = await bench.counters.increment(
                TENANT, "video", "c", delta=-3, initial=10, expiry=Lifetime(ttl_ms=60_000)
            )
            second = await bench.counters.increment(TENANT, "video", "c", delta=5, initial=99)

            assert (7, True) == (first.value, first.created)
            assert (12, False) == (second.value, second.created)
            assert first.expiry_ms == second.expiry_ms

    async def test_get_reads_its_value_in_decimal(self, redis_url: str) -> None:
        """One GET, like any other value; nothing lies beside it."""
        async with Bench.on(redis_url) as bench:
            await bench.increment("c", 41)
            first = await bench.entry("c")
            await bench.increment("c", 1)
            entry = await bench.entry("c")

            assert first is not None
            assert entry is not None
            assert (b"42", Kind.COUNTER, False) == (entry.value, entry.kind, entry.near)
            assert first.version != entry.version
            assert 0 == await bench.redis.execute("EXISTS", items_key(entry_key(*name("c"))))

    async def test_fifty_at_once_count_fifty(self, redis_url: str) -> None:
        """From two replicas, and from nothing."""
        async with Bench.on(redis_url) as one, Bench.on(redis_url) as other:
            adding = [bench.increment("c") for bench in (one, other) for _ in range(25)]

            values = await asyncio.gather(*adding)

            assert [*range(1, 51)] == sorted(values)

    async def test_its_end_is_set_when_it_is_created_and_not_changed(self, redis_url: str) -> None:
        """Neither by counting on nor by another TTL."""
        async with Bench.on(redis_url) as bench:
            await bench.counters.increment(
                TENANT, "video", "c", delta=1, initial=0, expiry=Lifetime(ttl_ms=60_000)
            )
            await bench.counters.increment(
                TENANT, "video", "c", delta=1, initial=0, expiry=Lifetime(ttl_ms=900_000)
            )

            left, _ = await bench.milliseconds_left("c")
            assert 0 < left <= 60_000

    async def test_a_dead_counter_begins_anew(self, redis_url: str) -> None:
        """An invalidated one counts as none, and so does a deleted one."""
        async with Bench.on(redis_url) as bench:
            counting = bench.counters
            await counting.increment(TENANT, "video", "c", delta=5, initial=0, tags=("user:1",))
            await bench.books.histories.append(TENANT, tags=("user:1",))
            assert 1 == await bench.increment("c")

            await bench.delete("c")

            assert 1 == await bench.increment("c")

    async def test_voids_a_lease_and_wakes_who_waits(
        self, redis_url: str, store: "redis.asyncio.Redis"
    ) -> None:
        """What is being computed for the key must not overwrite the count."""
        async with Bench.on(redis_url) as bench, store.pubsub() as heard:
            where = entry_key(*name("c"))
            await heard.subscribe(WAKE)
            await heard.get_message(timeout=5)
            await bench.redis.execute("SET", lease_key(where), b"L" + bytes(40) + b"w")

            await bench.increment("c")

            message = await heard.get_message(timeout=5)
            assert message is not None
            assert where == message["data"]
            assert 0 == await bench.redis.execute("EXISTS", lease_key(where))

    async def test_in_a_permanent_class_it_has_no_end(self, redis_url: str) -> None:
        """And is booked by name, once."""
        async with Bench.on(redis_url) as bench:
            for _ in range(3):
                counter = await bench.counters.increment(
                    TENANT, "video", "c", delta=1, initial=0, expiry=InClass(name="embeddings")
                )

            assert (3, None) == (counter.value, counter.expiry_ms)
            assert (-1, -2) == await bench.milliseconds_left("c")
            assert 1 == (await bench.books.used())["entries"]


class TestOverflow:
    @pytest.mark.parametrize(
        ("value", "delta"), [(HIGHEST, 1), (LOWEST, -1), (HIGHEST - 5, HIGHEST), (-2, LOWEST)]
    )
    async def test_beyond_64_bits_nothing_changes(
        self, redis_url: str, value: int, delta: int
    ) -> None:
        """The error names the field."""
        async with Bench.on(redis_url) as bench:
            await bench.increment("c", 0, initial=value)
            before = await bench.entry("c")

            with pytest.raises(ValidationError) as refused:
                await bench.increment("c", delta)

            assert ("COUNTER_OVERFLOW", {"delta"}) == (
                refused.value.reason,
                set(refused.value.fields),
            )
            assert before == await bench.entry("c")

    async def test_one_that_would_begin_beyond_is_not_created(self, redis_url: str) -> None:
        """And not booked."""
        async with Bench.on(redis_url) as bench:
            with pytest.raises(ValidationError):
                await bench.increment("c", 1, initial=HIGHEST)

            assert await bench.entry("c") is None
            assert 0 == (await bench.books.used())["entries"]

    @pytest.mark.parametrize("value", [2**53 + 1, HIGHEST - 1, LOWEST, -(2**53) - 1])
    async def test_every_integer_of_64_bits_is_exact(self, redis_url: str, value: int) -> None:
        """Also where a double is not."""
        async with Bench.on(redis_url) as bench:
            await bench.increment("c", value)

            assert value + 1 == await bench.increment("c", 1)


class TestRefusals:
    async def test_something_else_stands_there(self, redis_url: str) -> None:
        """The error says what, and it is left alone."""
        async with Bench.on(redis_url) as bench:
            await bench.write("c")

            with pytest.raises(PreconditionError) as refused:
                await bench.increment("c")

            assert "WRONG_KIND" == refused.value.reason
            assert "a value stands under this key, where a counter" in refused.value.message
            entry = await bench.entry("c")
            assert entry is not None
            assert b"xxx" == entry.value

    async def test_all_that_is_wrong_is_named_at_once(self, redis_url: str) -> None:
        """Name, tags and lifetime."""
        async with Bench.on(redis_url) as bench:
            with pytest.raises(ValidationError) as refused:
                await bench.counters.increment(
                    TENANT, "Video", "", delta=1, initial=0, expiry=Lifetime(ttl_ms=0), tags=("",)
                )

            assert {"namespace", "key", "ttl", "tags[0]"} == set(refused.value.fields)

    async def test_a_quota_bounds_how_many_there_are(self, redis_url: str) -> None:
        """Not how often they count."""
        async with Bench.on(redis_url, policies(Quota(max_entries=1))) as bench:
            for _ in range(5):
                await bench.increment("c")

            with pytest.raises(QuotaError):
                await bench.increment("d")

            assert 6 == await bench.increment("c")
