"""The buffer of one stream of invalidations."""

import asyncio

import pytest

from mainstay.errors import CacheError
from services.cache.history import Change, Head
from services.cache.watcher import Discontinuity, Heartbeat, Message, Told, Watcher


def head(sequence: int) -> Head:
    return Head("e", sequence)


def change(sequence: int, tag: str = "a") -> Change:
    return Change(sequence, sequence - 1, 0, tags=(tag,))


async def taken(watcher: Watcher) -> list[Message]:
    """Take what is there."""
    messages = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                messages.append(await watcher.next())
        except TimeoutError:
            return messages


class TestMessages:
    async def test_come_in_order_with_what_was_told_before(self) -> None:
        """Whoever reads them finds a chain without a gap."""
        watcher = Watcher(head(1))
        watcher.tell("e", change(5))
        watcher.tell("e", change(7))
        watcher.beat(head(9))
        watcher.tell("e", change(10))

        assert [
            Told(head=head(5), previous=1, change=change(5)),
            Told(head=head(7), previous=5, change=change(7)),
            Heartbeat(head=head(9), previous=7),
            Told(head=head(10), previous=9, change=change(10)),
        ] == await taken(watcher)

    async def test_about_the_history_itself_are_left_out(self) -> None:
        """They make nothing stale; the chain leads past them."""
        watcher = Watcher(head(1))
        watcher.tell("e", Change(2, 1, 0, retired=1))
        watcher.tell("e", change(3))

        assert [Told(head=head(3), previous=1, change=change(3))] == await taken(watcher)

    async def test_of_hearts_do_not_pile_up(self) -> None:
        """One that nobody has read is replaced by the next."""
        watcher = Watcher(head(1))
        for sequence in (1, 2, 3):
            watcher.beat(head(sequence))

        assert [Heartbeat(head=head(3), previous=1)] == await taken(watcher)

    async def test_are_waited_for(self) -> None:
        """Nothing is polled: the next message wakes its reader."""
        watcher = Watcher(head(1))
        reader = asyncio.create_task(watcher.next())
        await asyncio.sleep(0)
        watcher.beat(head(1))

        assert Heartbeat(head=head(1), previous=1) == await reader


class TestOverflow:
    async def test_is_a_discontinuity_in_place_of_all_that_waits(self) -> None:
        """Who reads too slowly drops every copy and goes on."""
        watcher = Watcher(head(0), max_buffered=3)
        for sequence in range(1, 5):
            watcher.tell("e", change(sequence))
        watcher.tell("e", change(5))

        gap, then = await taken(watcher)
        assert isinstance(gap, Discontinuity)
        assert (head(4), "the stream is read too slowly") == (gap.head, gap.cause)
        assert Told(head=head(5), previous=4, change=change(5)) == then

    async def test_of_hearts_does_not_happen(self) -> None:
        """A buffer that is full of hearts has one of them."""
        watcher = Watcher(head(0), max_buffered=1)
        for sequence in range(1, 10):
            watcher.beat(head(sequence))

        assert [Heartbeat(head=head(9), previous=0)] == await taken(watcher)


class TestEnd:
    async def test_comes_at_once(self) -> None:
        """What was buffered is not worth reading: every copy has to go."""
        watcher = Watcher(head(1))
        watcher.tell("e", change(2))
        watcher.end(CacheError("gone"))

        with pytest.raises(CacheError, match="gone"):
            await watcher.next()

    async def test_wakes_its_reader(self) -> None:
        """Also one that waits."""
        watcher = Watcher(head(1))
        reader = asyncio.create_task(watcher.next())
        await asyncio.sleep(0)
        watcher.end(CacheError("gone"))

        with pytest.raises(CacheError, match="gone"):
            await reader
