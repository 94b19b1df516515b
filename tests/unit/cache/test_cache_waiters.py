"""Who waits in a process, and how they are told."""

import asyncio

import pytest

from mainstay.errors import UnavailableError
from services.cache.waiters import Waiters

PATIENCE = 5.0


@pytest.fixture
def waiters() -> Waiters:
    return Waiters(most=3)


async def wait_for(waiters: Waiters, entry_key: bytes, ready: asyncio.Event) -> bool:
    with waiters.waiting(entry_key) as signal:
        ready.set()
        return await signal.wait(within=PATIENCE)


class TestWaking:
    async def test_all_of_a_key(self, waiters: Waiters) -> None:
        """Everybody who waits for an entry is told, and nobody else."""
        with (
            waiters.waiting(b"a") as first,
            waiters.waiting(b"a") as second,
            waiters.waiting(b"b") as other,
        ):
            waiters.wake(b"a")
            told = [await signal.wait(within=0) for signal in (first, second, other)]

        assert told == [True, True, False]

    async def test_everybody(self, waiters: Waiters) -> None:
        """After a gap in what is heard, all look again."""
        with waiters.waiting(b"a") as first, waiters.waiting(b"b") as second:
            waiters.wake_all()
            told = [await signal.wait(within=0) for signal in (first, second)]

        assert told == [True, True]

    async def test_before_the_wait(self, waiters: Waiters) -> None:
        """A signal that comes between asking and waiting is not lost."""
        with waiters.waiting(b"a") as signal:
            waiters.wake(b"a")

            assert await signal.wait(within=PATIENCE)

    async def test_cleared(self, waiters: Waiters) -> None:
        """A signal from before the last look is none any more."""
        with waiters.waiting(b"a") as signal:
            waiters.wake(b"a")
            signal.clear()

            assert not await signal.wait(within=0)

    async def test_while_waiting(self, waiters: Waiters) -> None:
        """Whoever waits is woken at once."""
        ready = asyncio.Event()
        waiting = asyncio.create_task(wait_for(waiters, b"a", ready))
        await ready.wait()
        waiters.wake(b"a")

        assert await waiting

    async def test_nobody(self, waiters: Waiters) -> None:
        """A wake-up for what nobody waits for does nothing."""
        waiters.wake(b"a")

        assert len(waiters) == 0


class TestBound:
    async def test_one_too_many(self, waiters: Waiters) -> None:
        """Beyond the bound a caller is told to come back instead of being held."""
        with waiters.waiting(b"a"), waiters.waiting(b"a"), waiters.waiting(b"b"):
            with pytest.raises(UnavailableError) as refused, waiters.waiting(b"c"):
                pass

            assert refused.value.reason == "TOO_MANY_WAITERS"
            assert refused.value.retry_after == 1.0

    async def test_room_again(self, waiters: Waiters) -> None:
        """As soon as one has gone there is room for another."""
        with waiters.waiting(b"a"), waiters.waiting(b"a"):
            with waiters.waiting(b"b"):
                pass
            with waiters.waiting(b"c"):
                assert len(waiters) == 3


class TestLeaving:
    async def test_cancelled(self, waiters: Waiters) -> None:
        """A waiter that is cancelled leaves nothing behind, and the others go on."""
        ready = asyncio.Event()
        cancelled = asyncio.create_task(wait_for(waiters, b"a", ready))
        await ready.wait()
        with waiters.waiting(b"a") as other:
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            waiters.wake(b"a")

            assert await other.wait(within=0)
        assert len(waiters) == 0
        assert waiters._signals == {}

    async def test_after_an_error(self, waiters: Waiters) -> None:
        """Whatever ends the block ends the waiting."""
        with pytest.raises(ZeroDivisionError), waiters.waiting(b"a"):
            raise ZeroDivisionError

        assert len(waiters) == 0
        assert waiters._signals == {}


class TestDraining:
    async def test_let_go(self, waiters: Waiters) -> None:
        """Who waits when the service shuts down is sent to another replica at once."""
        ready = asyncio.Event()
        waiting = asyncio.create_task(wait_for(waiters, b"a", ready))
        await ready.wait()
        await waiters.drain()
        with pytest.raises(UnavailableError) as refused:
            await waiting

        assert refused.value.reason == "DRAINING"
        assert len(waiters) == 0

    async def test_between_looking_and_waiting(self, waiters: Waiters) -> None:
        """Who is about to look again does so, and leaves instead of waiting on."""
        with waiters.waiting(b"a") as signal:
            await waiters.drain()
            signal.clear()
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(UnavailableError):
                    await signal.wait(within=2 * PATIENCE)

    async def test_nobody_new(self, waiters: Waiters) -> None:
        """Nobody is held any more."""
        await waiters.drain()
        with pytest.raises(UnavailableError) as refused, waiters.waiting(b"a"):
            pass

        assert refused.value.reason == "DRAINING"
