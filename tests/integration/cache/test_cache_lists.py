"""Lists: order, bounds, their end, and what they count for."""

import asyncio

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, PreconditionError
from services.cache.entry import Kind, MissReason
from services.cache.keys import entry_key, items_key
from services.cache.policy import InClass, Lifetime
from services.cache.statistics import total
from tests.integration.cache.bookkeeping import TENANT, name
from tests.integration.cache.collecting_bench import Bench
from tests.integration.cache.list_calls import books_are_right, letters, push, read, trim


class TestPush:
    async def test_items_stand_as_if_pushed_one_by_one(self, redis_url: str) -> None:
        """In order at the tail, in reverse at the head."""
        async with Bench.on(redis_url) as bench:
            first = await bench.lists.push(TENANT, "video", "l", letters("cd"))
            second = await bench.lists.push(TENANT, "video", "l", letters("ba"), at_head=True)

            assert ((2, True), (4, False)) == (tuple(first), tuple(second))
            assert "abcd" == await read(bench)

    @pytest.mark.parametrize(
        ("at_head", "text", "most", "left"),
        [
            (False, "d", 3, "bcd"),
            (True, "d", 3, "dab"),
            (False, "defg", 3, "efg"),
            (True, "defg", 3, "gfe"),
            (False, "d", 1, "d"),
            (True, "de", 4, "edab"),
        ],
    )
    async def test_what_is_beyond_falls_off_the_other_end(
        self, redis_url: str, at_head: bool, text: str, most: int, left: str
    ) -> None:
        """Also of what is pushed, and the books follow."""
        async with Bench.on(redis_url) as bench:
            await push(bench, "abc")

            length = await push(bench, text, at_head=at_head, most=most)

            assert (len(left), left) == (length, await read(bench))
            assert await books_are_right(bench, len(left), len(left))

    async def test_concurrent_pushes_all_arrive(self, redis_url: str) -> None:
        """They do not get in each other's way, from nothing either."""
        async with Bench.on(redis_url) as one, Bench.on(redis_url) as other:
            pushing = [push(bench, "x") for bench in (one, other) for _ in range(30)]

            lengths = await asyncio.gather(*pushing)
            await one.books.usage.flush_once()

            assert [*range(1, 61)] == sorted(lengths)
            assert await books_are_right(other, 60, 60)

    async def test_items_end_with_their_list(self, redis_url: str) -> None:
        """Both at the same time, however often it is pushed to."""
        async with Bench.on(redis_url) as bench:
            expiry = Lifetime(ttl_ms=60_000)
            await bench.lists.push(TENANT, "video", "l", letters("a"), expiry=expiry)
            first = await bench.ends_together("l")
            await push(bench, "b")

            assert first
            assert await bench.ends_together("l")
            assert 60_000 >= (await bench.milliseconds_left("l"))[1]

    async def test_a_list_that_lost_its_items_gives_new_ones_an_end(self, redis_url: str) -> None:
        """Nothing is left for ever."""
        async with Bench.on(redis_url) as bench:
            await push(bench, "abc")
            await bench.redis.execute("DEL", items_key(entry_key(*name("l"))))

            await push(bench, "d")

            assert await bench.ends_together("l")
            assert await books_are_right(bench, 1, 1)

    async def test_what_another_program_left_there_is_replaced(self, redis_url: str) -> None:
        """Of any type, beside the entry too."""
        async with Bench.on(redis_url) as bench:
            where = entry_key(*name("l"))
            await bench.redis.execute("HSET", where, "a", "b")
            await bench.redis.execute("SET", items_key(where), "x")

            await push(bench, "a")

            assert "a" == await read(bench)

    async def test_an_invalidated_list_begins_anew(self, redis_url: str) -> None:
        """None of its items come back."""
        async with Bench.on(redis_url) as bench:
            await bench.lists.push(TENANT, "video", "l", letters("abc"), tags=("t",))
            await bench.books.histories.append(TENANT, tags=("t",))
            assert "" == await read(bench)

            pushed = await bench.lists.push(TENANT, "video", "l", letters("d"))

            assert (1, True) == tuple(pushed)
            assert "d" == await read(bench)
            assert await books_are_right(bench, 1, 1)

    async def test_clients_are_told_when_a_copy_was_replaced(self, redis_url: str) -> None:
        """A dead value that clients may hold gives way to a list."""
        async with Bench.on(redis_url) as bench:
            await bench.books.write("l", 3, near=True)
            before = await bench.books.histories.append(TENANT, namespaces=("video",))

            await push(bench, "a")

            tail = await bench.books.log.tail(TENANT, before)
            assert [(("video", "l"),)] == [change.entries for change in tail.changes]


class TestRead:
    @pytest.mark.parametrize(
        ("start", "count", "expected"),
        [
            (0, 1_000, "abcde"),
            (1, 2, "bc"),
            (-2, 10, "de"),
            (-4, 2, "bc"),
            (-1, 3, "e"),
            (-7, 3, "a"),
            (-9, 3, ""),
            (5, 1, ""),
            (2**31 - 1, 1_000, ""),
            (-(2**31), 1_000, ""),
        ],
    )
    async def test_gives_back_a_part(
        self, redis_url: str, start: int, count: int, expected: str
    ) -> None:
        """Counted from the head, or from the tail; what is outside is not there."""
        async with Bench.on(redis_url) as bench:
            await push(bench, "abcde")

            assert expected == await read(bench, start, count)

    async def test_no_list_is_an_empty_one(self, redis_url: str) -> None:
        """And a miss in the statistics, as a list is a hit."""
        async with Bench.on(redis_url) as bench:
            assert "" == await read(bench)
            await push(bench, "a")
            await read(bench)

            tally = total(tally for _, tally in bench.statistics.drain())

            assert (1, {MissReason.COLD: 1}) == (tally.hits, dict(tally.misses))

    async def test_a_redis_that_is_gone_is_said(self, private_redis: RedisServer) -> None:
        """And counted as a miss of its own kind."""
        async with Bench.on(private_redis.url) as bench:
            await private_redis.stop()

            with pytest.raises(CacheError):
                await read(bench)

            tally = total(tally for _, tally in bench.statistics.drain())
            assert {MissReason.STORE_UNAVAILABLE: 1} == dict(tally.misses)

    async def test_the_entry_is_read_before_its_items(
        self, redis_url: str, store: "redis.asyncio.Redis"
    ) -> None:
        """In one write; the other way round, dead items could be given back for a new list's."""
        async with Bench.on(redis_url) as bench, store.monitor() as seen:
            await push(bench, "a")
            await read(bench)
            await bench.redis.execute("ECHO", "over")

            commands = []
            async for command in seen.listen():
                commands.append(command["command"].split()[0])
                if command["command"] == "ECHO over":
                    break

            assert ["GET", "GET", "LRANGE", "LLEN", "ECHO"] == commands[-5:]

    async def test_a_value_is_no_list(self, redis_url: str) -> None:
        """The error says what is there; a known absence is none."""
        async with Bench.on(redis_url) as bench:
            await bench.increment("l")
            with pytest.raises(PreconditionError) as refused:
                await read(bench)
            assert "a counter stands under this key, where a list" in refused.value.message

            await bench.write("l", Kind.NEGATIVE)

            assert "" == await read(bench)
            assert 1 == await push(bench, "a")


class TestTrim:
    @pytest.mark.parametrize(
        ("start", "count", "left"),
        [
            (0, 3, "abc"),
            (1, 3, "bcd"),
            (-2, 9, "de"),
            (0, 10_000, "abcde"),
            (4, 1, "e"),
            (-7, 3, "a"),
        ],
    )
    async def test_keeps_a_part(self, redis_url: str, start: int, count: int, left: str) -> None:
        """The books follow."""
        async with Bench.on(redis_url) as bench:
            await push(bench, "abcde")

            length = await trim(bench, start, count)

            assert (len(left), left) == (length, await read(bench))
            assert await books_are_right(bench, len(left), len(left))

    @pytest.mark.parametrize(("start", "count"), [(0, 0), (5, 3), (-9, 3)])
    async def test_a_list_without_items_is_gone(
        self, redis_url: str, start: int, count: int
    ) -> None:
        """From Redis and from the books."""
        async with Bench.on(redis_url) as bench:
            await push(bench, "abcde")

            assert 0 == await trim(bench, start, count)

            assert (-2, -2) == await bench.milliseconds_left("l")
            assert (0, 0) == (
                (await bench.books.used())["entries"],
                (await bench.books.used())["bytes"],
            )

    async def test_changes_the_version_and_nothing_else(self, redis_url: str) -> None:
        """Times, stamp, class and tags stay."""
        async with Bench.on(redis_url) as bench:
            expiry = InClass(name="general")
            await bench.lists.push(TENANT, "video", "l", letters("abc"), expiry=expiry, tags=("t",))
            before = await bench.entry("l")
            await trim(bench, 0, 2)
            after = await bench.entry("l")

            assert before is not None
            assert after is not None
            assert before.version != after.version
            assert before == after._replace(version=before.version, charged=before.charged)
            assert ("general", ("t",), Kind.LIST) == (after.ttl_class, after.tags, after.kind)

    async def test_of_no_list_leaves_none(self, redis_url: str) -> None:
        """And creates none."""
        async with Bench.on(redis_url) as bench:
            assert 0 == await trim(bench, 0, 10)
            assert await bench.entry("l") is None
