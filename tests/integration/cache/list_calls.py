"""Calls on one list, `l`, whose items are letters."""

from services.cache.quota import ITEMS_OVERHEAD, LIST_ITEM_OVERHEAD, charged_bytes
from tests.integration.cache.bookkeeping import TENANT, name
from tests.integration.cache.collecting_bench import Bench


def letters(text: str) -> list[bytes]:
    """Return one item for each letter."""
    return [letter.encode() for letter in text]


async def push(bench: Bench, text: str, *, at_head: bool = False, most: int = 10_000) -> int:
    """Push letters to the list `l`."""
    pushed = await bench.lists.push(
        TENANT, "video", "l", letters(text), at_head=at_head, max_length=most
    )
    return pushed.length


async def read(bench: Bench, start: int = 0, count: int = 1_000) -> str:
    """Return letters of the list `l`."""
    part = await bench.lists.read(TENANT, "video", "l", start=start, count=count)
    return b"".join(part.items).decode()


async def trim(bench: Bench, start: int, count: int) -> int:
    """Trim the list `l`."""
    return await bench.lists.trim(TENANT, "video", "l", start=start, count=count)


async def books_are_right(bench: Bench, count: int, size: int) -> bool:
    """Tell whether the list `l` counts for what it holds, in its frame and in the books."""
    bare = charged_bytes(name("l"), 0) + ITEMS_OVERHEAD
    expected = bare + count * LIST_ITEM_OVERHEAD + size
    entry = await bench.entry("l")
    used = await bench.books.used()
    return entry is not None and entry.charged == expected == used["bytes"]
