"""Work in the database that nobody waits for longer than told."""

import asyncio

import pytest

from mainstay.errors import DatabaseError
from shared.postgres.bounded import BoundedWork


class Stubborn:
    """Work that takes its time to end when it is cancelled, as asyncpg's may."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            await self.may_end.wait()
            raise


class TestBoundedWork:
    async def test_what_ends_in_time_is_returned(self) -> None:
        """Or raised, as it is."""

        async def answer() -> int:
            return 42

        async def fail() -> int:
            raise KeyError("missing")

        work = BoundedWork()
        with pytest.raises(KeyError):
            await work.run(5, fail())

        assert 42 == await work.run(5, answer())

    async def test_what_does_not_is_given_up_at_once(self) -> None:
        """However long it takes to end: the caller has been told by then."""
        work, stubborn = BoundedWork(), Stubborn()
        with pytest.raises(DatabaseError, match=r"did not answer within 0\.05 s"):
            await asyncio.wait_for(work.run(0.05, stubborn()), 5)
        await asyncio.wait_for(stubborn.cancelled.wait(), 5)
        stubborn.may_end.set()
        await work.close(within=5)

    async def test_a_caller_that_leaves_takes_it_along(self) -> None:
        """Nobody is interested any more."""
        work, stubborn = BoundedWork(), Stubborn()
        caller = asyncio.create_task(work.run(60, stubborn()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await asyncio.wait_for(stubborn.cancelled.wait(), 5)
        stubborn.may_end.set()
        await work.close(within=5)

        assert caller.cancelled()

    async def test_closing_waits_no_longer_than_told(self) -> None:
        """A server that is frozen keeps no service from stopping."""
        work, stubborn = BoundedWork(), Stubborn()
        running = asyncio.create_task(work.run(60, stubborn()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await work.close(within=0.05)
        told = stubborn.cancelled.is_set()
        stubborn.may_end.set()
        await asyncio.gather(running, return_exceptions=True)

        assert told
