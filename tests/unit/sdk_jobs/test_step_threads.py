"""The threads in which the steps that block run."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mainstay.jobs.step_threads import StepThreads

PATIENCE = 10.0
# More than the event loop's own executor has on a machine with two cores.
LIMIT = 10


@pytest.fixture
def threads() -> Iterator[StepThreads]:
    """Return the threads of a worker with room for ten jobs."""
    threads = StepThreads(LIMIT)
    yield threads
    threads.close()


class TestThreads:
    async def test_are_as_many_as_the_limit(self, threads: StepThreads) -> None:
        """Ten calls that can only go on when all ten have begun."""
        meeting = threading.Barrier(LIMIT, timeout=PATIENCE)

        met = await asyncio.gather(*(threads.run(meeting.wait) for _ in range(LIMIT)))

        assert list(range(LIMIT)) == sorted(met)

    async def test_are_no_more_than_the_limit(self, threads: StepThreads) -> None:
        """Further calls wait for a thread."""
        calls = (threads.run(threading.get_ident) for _ in range(10 * LIMIT))

        assert len(set(await asyncio.gather(*calls))) <= LIMIT

    async def test_serve_one_call_after_the_other(self, threads: StepThreads) -> None:
        """Calls that do not overlap hardly need a second thread, and certainly not a hundred."""
        seen = {await threads.run(threading.get_ident) for _ in range(10 * LIMIT)}

        assert len(seen) <= LIMIT

    async def test_do_not_hold_up_the_end_of_the_process(self, threads: StepThreads) -> None:
        """The interpreter waits for all threads but daemons."""
        assert (await threads.run(threading.current_thread)).daemon

    async def test_end_when_closed(self, threads: StepThreads) -> None:
        """Those without a call at once."""
        thread = await threads.run(threading.current_thread)

        threads.close()
        thread.join(PATIENCE)

        assert not thread.is_alive()


class TestCall:
    async def test_raises_what_the_function_raises(self, threads: StepThreads) -> None:
        """And its thread goes on to the next."""
        with pytest.raises(ValueError, match="invalid literal"):
            await threads.run(int, "seven")

        assert 7 == await threads.run(int, "7")

    async def test_raises_something_for_what_no_future_holds(self, threads: StepThreads) -> None:
        """A function that asks an empty iterator for more must not be waited for without end."""
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await threads.run(next, iter(()))

    async def test_given_up_before_it_began_is_not_run(self) -> None:
        """The only thread is taken; what waits for it can still be cancelled."""
        threads = StepThreads(1)
        go_on = threading.Event()
        ran: list[str] = []

        occupying = asyncio.create_task(threads.run(go_on.wait, PATIENCE))
        waiting = asyncio.create_task(threads.run(ran.append, "given up"))
        await asyncio.sleep(0)  # both have been handed over
        waiting.cancel()
        await asyncio.wait((waiting,))
        go_on.set()
        await occupying
        await threads.run(ran.append, "next")
        threads.close()

        assert ["next"] == ran
