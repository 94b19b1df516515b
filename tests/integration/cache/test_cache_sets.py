"""Sets: members, pages, bounds, their end, and what they count for."""

import asyncio

import pytest

from mainstay.errors import PreconditionError, QuotaError, ValidationError
from services.cache.policy import InClass, Lifetime
from services.cache.quota import ITEMS_OVERHEAD, SET_MEMBER_OVERHEAD, charged_bytes
from services.cache.sets import Added, Removed
from tests.integration.cache.bookkeeping import TENANT, name
from tests.integration.cache.collecting_bench import MEBIBYTE, Bench


def letters(text: str) -> list[bytes]:
    """Return one member for each letter."""
    return [letter.encode() for letter in text]


async def add(bench: Bench, members: list[bytes]) -> Added:
    """Add to the set `s`."""
    return await bench.sets.add(TENANT, "video", "s", members)


async def books_are_right(bench: Bench, count: int, size: int) -> bool:
    """Tell whether the set `s` counts for what it holds, in its frame and in the books."""
    bare = charged_bytes(name("s"), 0) + ITEMS_OVERHEAD
    expected = bare + count * SET_MEMBER_OVERHEAD + size
    entry = await bench.entry("s")
    used = await bench.books.used()
    return entry is not None and entry.charged == expected == used["bytes"]


class TestAdd:
    async def test_counts_what_was_not_there(self, redis_url: str) -> None:
        """However often a member is named."""
        async with Bench.on(redis_url) as bench:
            assert (2, 2, True) == tuple(await add(bench, letters("aab")))
            assert (1, 3, False) == tuple(await add(bench, letters("bcb")))
            assert (0, 3, False) == tuple(await add(bench, letters("abc")))

            assert set(letters("abc")) == await bench.members("s")
            assert await books_are_right(bench, 3, 3)

    async def test_a_set_that_stays_as_it_is_keeps_its_version(self, redis_url: str) -> None:
        """Only what changes a set makes it another one."""
        async with Bench.on(redis_url) as bench:
            await add(bench, letters("ab"))
            before = await bench.entry("s")
            await add(bench, letters("ba"))
            await bench.sets.remove(TENANT, "video", "s", letters("x"))
            same = await bench.entry("s")
            await add(bench, letters("c"))
            after = await bench.entry("s")

            assert before == same
            assert before is not None
            assert after is not None
            assert before.version != after.version

    async def test_concurrent_adds_all_arrive(self, redis_url: str) -> None:
        """From two replicas, and from nothing."""
        async with Bench.on(redis_url) as one, Bench.on(redis_url) as other:
            adding = [
                add(bench, [b"%d" % (n % 20), b"%d" % n])
                for n, bench in enumerate([one, other] * 20)
            ]

            added = await asyncio.gather(*adding)
            await one.books.usage.flush_once()

            assert 40 == sum(each.added for each in added)
            assert 1 == sum(each.created for each in added)
            assert await books_are_right(other, 40, 10 + 2 * 30)

    async def test_members_end_with_their_set(self, redis_url: str) -> None:
        """Both at the same time."""
        async with Bench.on(redis_url) as bench:
            expiry = Lifetime(ttl_ms=60_000)
            await bench.sets.add(TENANT, "video", "s", letters("a"), expiry=expiry)
            await add(bench, letters("b"))

            assert await bench.ends_together("s")
            assert 60_000 >= (await bench.milliseconds_left("s"))[1]

    async def test_an_invalidated_set_begins_anew(self, redis_url: str) -> None:
        """None of its members come back."""
        async with Bench.on(redis_url) as bench:
            await bench.sets.add(TENANT, "video", "s", letters("abc"), tags=("t",))
            await bench.books.histories.append(TENANT, tags=("t",))

            assert (1, 1, True) == tuple(await add(bench, letters("d")))
            assert {b"d"} == await bench.members("s")


class TestBounds:
    async def test_the_member_beyond_ten_thousand_is_refused(self, redis_url: str) -> None:
        """With all that came with it; members that are there already are no more."""
        async with Bench.on(redis_url) as bench:
            members = [b"%d" % n for n in range(10_000)]
            for start in range(0, 10_000, 1_000):
                await add(bench, members[start : start + 1_000])

            with pytest.raises(QuotaError) as refused:
                await add(bench, [b"x", b"0"])

            assert {"members of a set"} == set(refused.value.violations)
            assert (0, 10_000, False) == tuple(await add(bench, members[:1_000]))
            assert [False] == await bench.sets.contains(TENANT, "video", "s", [b"x"])
            assert set(members) == await bench.members("s")
            assert await books_are_right(bench, 10_000, sum(map(len, members)))

    async def test_a_set_that_would_count_for_too_much_is_left_alone(self, redis_url: str) -> None:
        """And nothing of what was refused stays on the books."""
        async with Bench.on(redis_url, max_bytes=1_000) as bench:
            await add(bench, [b"x" * 300])

            with pytest.raises(QuotaError) as refused:
                await add(bench, [b"y" * 400])

            assert {"bytes of a set"} == set(refused.value.violations)
            assert await books_are_right(bench, 1, 300)

    @pytest.mark.parametrize("members", [[], [b"x"] * 1_001, [b"x" * MEBIBYTE, b"y"]])
    async def test_wrong_members_are_named(self, redis_url: str, members: list[bytes]) -> None:
        """Their number and their size."""
        async with Bench.on(redis_url) as bench:
            with pytest.raises(ValidationError) as refused:
                await add(bench, members)

            assert {"members"} == set(refused.value.fields)

    async def test_a_list_is_no_set(self, redis_url: str) -> None:
        """The error says what is there."""
        async with Bench.on(redis_url) as bench:
            await bench.lists.push(TENANT, "video", "s", [b"a"])

            with pytest.raises(PreconditionError) as refused:
                await add(bench, [b"a"])
            with pytest.raises(PreconditionError):
                await bench.members("s")

            assert "a list stands under this key, where a set" in refused.value.message


class TestRemove:
    async def test_counts_what_was_there(self, redis_url: str) -> None:
        """However often a member is named; the books follow."""
        async with Bench.on(redis_url) as bench:
            await add(bench, letters("abcd"))

            removed = await bench.sets.remove(TENANT, "video", "s", letters("bbxa"))

            assert (2, 2) == tuple(removed)
            assert set(letters("cd")) == await bench.members("s")
            assert await books_are_right(bench, 2, 2)

    async def test_a_set_without_members_is_gone(self, redis_url: str) -> None:
        """From Redis and from the books, and a permanent one from its class."""
        async with Bench.on(redis_url) as bench:
            expiry = InClass(name="embeddings")
            await bench.sets.add(TENANT, "video", "s", letters("ab"), expiry=expiry)

            removed = await bench.sets.remove(TENANT, "video", "s", letters("ab"))

            assert (2, 0) == tuple(removed)
            assert (-2, -2) == await bench.milliseconds_left("s")
            assert {0} == set((await bench.books.used()).values())

    async def test_from_no_set_removes_nothing(self, redis_url: str) -> None:
        """And creates none."""
        async with Bench.on(redis_url) as bench:
            removed = await bench.sets.remove(TENANT, "video", "s", [b"a"])

            assert Removed(0, 0) == removed
            assert await bench.entry("s") is None


class TestContains:
    async def test_answers_in_the_order_of_the_question(self, redis_url: str) -> None:
        """One for each, repeated or not; of no set nothing is a member."""
        async with Bench.on(redis_url) as bench:
            asked = letters("xaxb")
            before = await bench.sets.contains(TENANT, "video", "s", asked)
            await add(bench, letters("ab"))

            after = await bench.sets.contains(TENANT, "video", "s", asked)

            assert [False, False, False, False] == before
            assert [False, True, False, True] == after


class TestPages:
    async def test_every_member_is_on_some_page(self, redis_url: str) -> None:
        """Pages are about as large as asked for."""
        async with Bench.on(redis_url) as bench:
            members = {b"member %d" % n for n in range(1_000)}
            await add(bench, [*members])

            page = await bench.sets.page(TENANT, "video", "s", size=50, token="")

            assert 50 <= len(page.members) < 80
            assert 1_000 == page.size
            assert members == await bench.members("s", size=50)

    async def test_a_set_may_change_between_pages(self, redis_url: str) -> None:
        """What is there all the while is returned at least once."""
        async with Bench.on(redis_url) as bench:
            staying = {b"member %d" % n for n in range(500)}
            await add(bench, [*staying])
            found, token = set[bytes](), ""
            for n in range(1_000):
                page = await bench.sets.page(TENANT, "video", "s", size=20, token=token)
                found.update(page.members)
                token = page.next_token
                if not token:
                    break
                await add(bench, [b"new %d" % n])

            assert not token
            assert staying <= found

    @pytest.mark.parametrize(
        "token", ["x", "ü", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA", "=" * 24, "A" * 4_000]
    )
    async def test_garbage_is_no_token(self, redis_url: str, token: str) -> None:
        """The error names the field."""
        async with Bench.on(redis_url) as bench:
            await add(bench, letters("ab"))

            with pytest.raises(ValidationError) as refused:
                await bench.sets.page(TENANT, "video", "s", size=10, token=token)

            assert {"page_token"} == set(refused.value.fields)

    async def test_a_token_belongs_to_one_set(self, redis_url: str) -> None:
        """Not to another one, nor to one that was created anew; where none is left, nothing is."""
        async with Bench.on(redis_url) as bench:
            members = [b"member %d" % n for n in range(500)]
            await add(bench, members)
            await bench.sets.add(TENANT, "video", "other", members)
            token = (await bench.sets.page(TENANT, "video", "s", size=10, token="")).next_token

            with pytest.raises(ValidationError) as refused:
                await bench.sets.page(TENANT, "video", "other", size=10, token=token)
            await bench.delete("s")
            gone = await bench.sets.page(TENANT, "video", "s", size=10, token=token)
            await add(bench, members)
            with pytest.raises(ValidationError):
                await bench.sets.page(TENANT, "video", "s", size=10, token=token)

            assert {"page_token"} == set(refused.value.fields)
            assert ((), "", 0) == tuple(gone)

    async def test_a_page_that_does_not_fit_is_refused(self, redis_url: str) -> None:
        """A smaller one does.

        Redis gives back what shares a bucket of its table together, three or four by chance: of
        half a mebibyte each, so that no chance makes a page of one too large.
        """
        async with Bench.on(redis_url) as bench:
            for n in range(12):
                await add(bench, [b"%02d" % n + b"x" * (MEBIBYTE // 2)])

            with pytest.raises(ValidationError) as refused:
                await bench.members("s")

            assert {"page_size"} == set(refused.value.fields)
            assert 12 == len(await bench.members("s", size=1))
