"""Lists: how large they may be, and what they count for when they are cut or permanent."""

import pytest

from mainstay.errors import QuotaError, ValidationError
from services.cache.policy import InClass, Quota
from services.cache.quota import ITEMS_OVERHEAD, LIST_ITEM_OVERHEAD, charged_bytes
from tests.integration.cache.bookkeeping import TENANT, name, policies
from tests.integration.cache.collecting_bench import MEBIBYTE, Bench
from tests.integration.cache.list_calls import books_are_right, letters, push, read, trim


class TestBounds:
    async def test_a_list_that_would_count_for_too_much_is_left_alone(self, redis_url: str) -> None:
        """And nothing of the refused push stays on the books."""
        async with Bench.on(redis_url, max_bytes=1_000) as bench:
            await bench.lists.push(TENANT, "video", "l", [b"x" * 300])

            with pytest.raises(QuotaError) as refused:
                await bench.lists.push(TENANT, "video", "l", [b"y" * 500])
            with pytest.raises(QuotaError):
                await bench.lists.push(TENANT, "video", "new", [b"y" * 900])

            assert {"bytes of a list"} == set(refused.value.violations)
            assert [b"x" * 300] == await bench.items("l")
            assert await books_are_right(bench, 1, 300)

    async def test_a_push_that_makes_room_for_itself_passes(self, redis_url: str) -> None:
        """What falls off is gone before the bound is looked at."""
        async with Bench.on(redis_url, max_bytes=1_000) as bench:
            await bench.lists.push(TENANT, "video", "l", [b"x" * 500])

            await bench.lists.push(TENANT, "video", "l", [b"y" * 500], max_length=1)

            assert [b"y" * 500] == await bench.items("l")

    async def test_a_tenants_quota_bounds_growing_too(self, redis_url: str) -> None:
        """Trimming makes room."""
        bare = charged_bytes(name("l"), 0) + ITEMS_OVERHEAD
        given = policies(Quota(max_bytes=bare + 3 * (1 + LIST_ITEM_OVERHEAD)))
        async with Bench.on(redis_url, given) as bench:
            await push(bench, "abc")
            with pytest.raises(QuotaError):
                await push(bench, "d")

            await trim(bench, 1, 2)

            assert 3 == await push(bench, "d")
            assert "bcd" == await read(bench)

    @pytest.mark.parametrize(
        ("items", "most", "field"),
        [
            ([], 10, "items"),
            ([b"x"] * 1_001, 10, "items"),
            ([b"x" * MEBIBYTE, b"x"], 10, "items"),
            ([b"x"], 0, "max_length"),
            ([b"x"], 10_001, "max_length"),
        ],
    )
    async def test_wrong_pushes_name_the_field(
        self, redis_url: str, items: list[bytes], most: int, field: str
    ) -> None:
        """Number and size of items, and the length."""
        async with Bench.on(redis_url) as bench:
            with pytest.raises(ValidationError) as refused:
                await bench.lists.push(TENANT, "video", "l", items, max_length=most)

            assert {field} == set(refused.value.fields)

    async def test_an_answer_that_does_not_fit_is_refused(self, redis_url: str) -> None:
        """Fewer at once do."""
        async with Bench.on(redis_url) as bench:
            for _ in range(5):
                await bench.lists.push(TENANT, "video", "l", [b"x" * (MEBIBYTE - 1)])

            with pytest.raises(ValidationError) as refused:
                await bench.lists.read(TENANT, "video", "l", start=0, count=5)
            part = await bench.lists.read(TENANT, "video", "l", start=0, count=3)

            assert ("BATCH_TOO_LARGE", {"count"}) == (
                refused.value.reason,
                set(refused.value.fields),
            )
            assert (3, 5) == (len(part.items), part.length)


class TestCutsOfLargeLists:
    """Too many items to read: Redis says what is left, about, and the books say the same."""

    @pytest.mark.parametrize("how", ["middle", "head", "tail"])
    async def test_the_books_follow_closely(self, redis_url: str, how: str) -> None:
        """Within a tenth; and exactly again as soon as it is created anew."""
        async with Bench.on(redis_url) as bench:
            items = [b"%03d" % (n % 1_000) * (100 + n % 100) for n in range(3_000)]
            for start in range(0, 3_000, 1_000):
                await bench.lists.push(TENANT, "video", "l", items[start : start + 1_000])

            if how == "middle":
                await trim(bench, 700, 999)
                left = items[700:1_699]
            else:
                await bench.lists.push(
                    TENANT, "video", "l", [b"x"], at_head=how == "head", max_length=1_000
                )
                left = [b"x", *items[:999]] if how == "head" else [*items[-999:], b"x"]

            assert left == await bench.items("l")
            counts = sum(map(len, left)) + len(left) * LIST_ITEM_OVERHEAD
            entry, used = await bench.entry("l"), await bench.books.used()
            assert entry is not None
            assert 0.9 * counts < entry.charged < 1.1 * counts
            assert entry.charged == used["bytes"]
            await trim(bench, 0, 0)
            await push(bench, "abc")
            assert await books_are_right(bench, 3, 3)


class TestPermanent:
    async def test_a_list_is_booked_once_however_it_changes(self, redis_url: str) -> None:
        """By name; and gone from the books when it is gone."""
        async with Bench.on(redis_url) as bench:
            expiry = InClass(name="embeddings")
            for _ in range(3):
                await bench.lists.push(TENANT, "video", "l", letters("ab"), expiry=expiry)
            await trim(bench, 0, 5)
            entry = await bench.entry("l")
            assert entry is not None
            assert (1, entry.charged) == (
                (await bench.books.used())["entries"],
                (await bench.books.used())["bytes of class embeddings"],
            )

            await trim(bench, 0, 0)

            assert {"entries": 0, "bytes": 0, "bytes of class embeddings": 0} == (
                await bench.books.used()
            )
