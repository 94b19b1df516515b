"""Counters, lists and sets behave as plain integers, lists and sets do, and their books add up."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.errors import ValidationError
from services.cache.entry import Entry
from services.cache.frame import decode
from services.cache.keys import EntryName, entry_key
from services.cache.lists import span
from services.cache.quota import (
    ITEMS_OVERHEAD,
    LIST_ITEM_OVERHEAD,
    SET_MEMBER_OVERHEAD,
    charged_bytes,
)
from shared.rpc.call import Tenant
from tests.integration.cache.collecting_bench import Bench

HIGHEST, LOWEST = 2**63 - 1, -(2**63)
_tenants = count(1)

Steps = list[tuple[object, ...]]
Bed = tuple[asyncio.Runner, Bench]
Place = tuple[Tenant, str, str]

items = st.lists(st.binary(max_size=70), min_size=1, max_size=12)
positions = st.integers(-15, 15)
list_steps = st.lists(
    st.tuples(st.just("push"), items, st.booleans(), st.integers(1, 20))
    | st.tuples(st.just("trim"), positions, st.integers(0, 12)),
    max_size=15,
)
members = st.lists(st.binary(max_size=3), min_size=1, max_size=12)
set_steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), members), min_size=1, max_size=15
)
numbers = st.integers(LOWEST, HIGHEST) | st.sampled_from([0, 1, -1, HIGHEST, LOWEST, 2**53 + 1])


@pytest.fixture(scope="module")
def bed(session_redis_url: str) -> Iterator[Bed]:
    """Connect once for all examples; each example is a tenant of its own."""
    with asyncio.Runner() as runner:
        opened = Bench.on(session_redis_url)
        yield runner, runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


class TestLists:
    @given(list_steps)
    @settings(max_examples=50)
    def test_are_plain_lists(self, bed: Bed, steps: Steps) -> None:
        """After every push and trim: the items, the length, and what they count for."""
        runner, bench = bed
        runner.run(_play_list(bench, steps))

    @given(st.binary(max_size=12), st.integers(-20, 20), st.integers(0, 20))
    def test_a_span_is_a_window_over_the_list(self, text: bytes, start: int, size: int) -> None:
        """One that begins before the head or ends behind the tail shows what is within."""
        first, last = span(start, size)

        assert _window(text, start, size) == _redis_range(text, first, last)


class TestSets:
    @given(set_steps)
    @settings(max_examples=50)
    def test_are_plain_sets(self, bed: Bed, steps: Steps) -> None:
        """After every change: the members, the numbers, and what they count for."""
        runner, bench = bed
        runner.run(_play_set(bench, steps))


class TestCounters:
    @given(numbers, st.lists(numbers, min_size=1, max_size=8))
    @settings(max_examples=50)
    def test_are_plain_integers_of_64_bits(self, bed: Bed, initial: int, deltas: list[int]) -> None:
        """Exact to the last one; beyond, an addition is refused and changes nothing."""
        runner, bench = bed
        runner.run(_count(bench, initial, deltas))


async def _play_list(bench: Bench, steps: Steps) -> None:
    name, expected = _fresh("list"), list[bytes]()
    for step in steps:
        match step:
            case ("push", list(given), bool(at_head), int(most)):
                pushed = await bench.lists.push(*name, given, at_head=at_head, max_length=most)
                assert pushed.created == (not expected)
                expected = _pushed(expected, given, at_head=at_head, most=most)
                assert len(expected) == pushed.length
            case ("trim", int(start), int(size)):
                left = await bench.lists.trim(*name, start=start, count=size)
                expected = _window(expected, start, size)
                assert len(expected) == left
        part = await bench.lists.read(*name, start=0, count=1_000)
        assert (expected, len(expected)) == ([*part.items], part.length)
        await _check_books(bench, name, expected, LIST_ITEM_OVERHEAD)


def _pushed(before: list[bytes], given: list[bytes], *, at_head: bool, most: int) -> list[bytes]:
    if at_head:
        return (given[::-1] + before)[:most]
    return (before + given)[-most:]


W = TypeVar("W", bytes, list[bytes])


def _window(whole: W, start: int, size: int) -> W:
    first = start if start >= 0 else len(whole) + start
    return whole[max(0, first) : max(0, first + size)]


def _redis_range(text: bytes, first: int, last: int) -> bytes:
    """Cut as Redis documents it for LRANGE."""
    first = max(0, len(text) + first) if first < 0 else first
    last = len(text) + last if last < 0 else last
    return text[first : max(0, last + 1)]


async def _play_set(bench: Bench, steps: Steps) -> None:
    name, expected = _fresh("set"), set[bytes]()
    for step in steps:
        match step:
            case ("add", list(given)):
                added = await bench.sets.add(*name, given)
                assert len(set(given) - expected) == added.added
                assert added.created == (not expected)
                expected |= set(given)
                assert len(expected) == added.size
            case ("remove", list(given)):
                removed = await bench.sets.remove(*name, given)
                assert len(set(given) & expected) == removed.removed
                expected -= set(given)
                assert len(expected) == removed.size
        asked = [*expected, b"none of them"]
        assert [True] * len(expected) + [False] == await bench.sets.contains(*name, asked)
        await _check_books(bench, name, [*expected], SET_MEMBER_OVERHEAD)


async def _count(bench: Bench, initial: int, deltas: list[int]) -> None:
    name, expected = _fresh("counter"), None
    for delta in deltas:
        total = (initial if expected is None else expected) + delta
        try:
            counter = await bench.counters.increment(*name, delta=delta, initial=initial)
        except ValidationError:
            assert not LOWEST <= total <= HIGHEST
            assert expected == await _value(bench, name)
        else:
            assert (total, expected is None) == (counter.value, counter.created)
            expected = total


async def _check_books(bench: Bench, name: Place, items: "list[bytes]", overhead: int) -> None:
    holdings = await bench.books.usage.holdings(name[0])
    used = {holding.quota: holding.used for holding in holdings}
    counts = (
        charged_bytes(EntryName(*name), 0)
        + ITEMS_OVERHEAD
        + sum(map(len, items))
        + overhead * len(items)
    )
    stored = await _stored(bench, name)
    expected = (1, counts, counts) if items else (0, 0, None)
    assert expected == (
        used["entries"],
        used["bytes"],
        None if stored is None else stored.charged,
    )


async def _stored(bench: Bench, name: Place) -> Entry | None:
    frame = await bench.redis.execute("GET", entry_key(*name))
    return None if frame is None else decode(frame)


async def _value(bench: Bench, name: Place) -> int | None:
    stored = await _stored(bench, name)
    return None if stored is None else int(stored.value)


def _fresh(kind: str) -> Place:
    return Tenant(f"{kind}{next(_tenants)}"), "n", "k"
