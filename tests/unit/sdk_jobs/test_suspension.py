"""A function that waits keeps no worker busy: its job is suspended, and runs again later."""

import asyncio
from contextlib import suppress

import pytest

from mainstay.jobs import (
    JobContext,
)
from mainstay.jobs.assignment import Suspended
from tests.unit.sdk_jobs.recorded_reports import SETTLE_SECONDS
from tests.unit.sdk_jobs.turns import Turns, result


class TestWaitsSideBySide:
    async def test_suspend_the_job_together(self) -> None:
        """The first that is done wakes it; it is suspended again for the other."""

        async def handler(job: JobContext) -> object:
            return await asyncio.gather(
                job.step.invoke("a", "chunk", {"index": 0}),
                job.step.invoke("b", "chunk", {"index": 1}),
            )

        turns = Turns(handler)
        ended = {"job_id": "j", "state": "succeeded", "result": 1, "failure": None}

        assert Suspended(keys=("a", "b")) == await turns.run()
        assert Suspended(keys=("a",)) == await turns.run(b=ended)
        assert [1, 1] == result(await turns.run(a=ended))

    async def test_let_a_step_beside_them_finish(self) -> None:
        """The job is not suspended while a step runs, however long it takes."""
        free = asyncio.Event()

        async def work(job: JobContext) -> str:
            await job.alive()
            await free.wait()
            return "done"

        async def handler(job: JobContext) -> None:
            await asyncio.gather(job.step.sleep("nap", 60), job.step.run("work", work, job))

        turns = Turns(handler)
        turn = asyncio.create_task(turns.run())
        done, _ = await asyncio.wait({turn}, timeout=5 * SETTLE_SECONDS)
        assert set() == done

        free.set()

        assert Suspended(keys=("nap",)) == await turn
        assert [("work", '"done"')] == turns.reports.steps

    async def test_are_begun_again_where_they_are_not_done(self) -> None:
        """Which changes nothing, and costs less than to know it."""

        async def handler(job: JobContext) -> None:
            await asyncio.gather(job.step.sleep("nap", 60), job.step.wait_for_signal("go", "go"))

        turns = Turns(handler)
        await turns.run()
        await turns.run(go=None)

        assert ["nap", "go", "nap"] == [wait.key for wait in turns.reports.waits]

    async def test_may_be_given_up(self) -> None:
        """Whichever comes first: the function goes on without the other."""

        async def handler(job: JobContext) -> list[str]:
            waits = {
                asyncio.create_task(job.step.wait_for_signal("go", "go"), name="go"),
                asyncio.create_task(job.step.sleep("limit", 60), name="limit"),
            }
            done, late = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in late:
                wait.cancel()
            return [wait.get_name() for wait in done]

        turns = Turns(handler)

        assert isinstance(await turns.run(), Suspended)
        assert ["limit"] == result(await turns.run(limit=None))


class TestSuspension:
    async def test_ends_the_function_by_its_cancellation(self) -> None:
        """What it has open is closed."""
        closed: list[str] = []

        async def handler(job: JobContext) -> None:
            try:
                await job.step.sleep("nap", 60)
            finally:
                closed.append("closed")

        await Turns(handler).run()

        assert ["closed"] == closed

    @pytest.mark.parametrize("end", ["returns", "raises", "goes on"])
    async def test_is_not_to_be_swallowed(self, end: str) -> None:
        """Whatever the function does about it, it is suspended, and no further step runs."""

        async def handler(job: JobContext) -> str:
            try:
                await job.step.sleep("nap", 60)
            except BaseException as error:
                if end == "raises":
                    raise OSError("swallowed") from error
                if end == "goes on":
                    await job.step.run("more", lambda: 1)
            return "swallowed"

        turns = Turns(handler)

        assert Suspended(keys=("nap",)) == await turns.run()
        assert [] == turns.reports.steps

    async def test_leaves_no_task_behind(self) -> None:
        """Of waits that the function had begun and forgotten."""
        left: list[asyncio.Task[None]] = []

        async def handler(job: JobContext) -> None:
            left.append(asyncio.create_task(job.step.sleep("forgotten", 60)))
            await job.step.sleep("nap", 60)

        await Turns(handler).run()
        await asyncio.wait(left, timeout=5)

        assert [True] == [task.cancelled() for task in left]

    async def test_gives_way_to_another_cancellation(self) -> None:
        """A worker that has to go hands the job back, and does not suspend it."""

        async def handler(job: JobContext) -> None:
            try:
                await job.step.sleep("nap", 60)
            finally:
                turn.cancel()
                await asyncio.sleep(0)

        turn = asyncio.create_task(Turns(handler).run())

        with pytest.raises(asyncio.CancelledError):
            await turn

    async def test_comes_only_once_nothing_has_moved_for_a_moment(self) -> None:
        """Progress and signs of life begin that moment anew."""
        loop = asyncio.get_running_loop()
        moved: list[str] = []

        async def handler(job: JobContext) -> None:
            wait = asyncio.create_task(job.step.sleep("nap", 60))
            end = loop.time() + 5 * SETTLE_SECONDS
            while loop.time() < end:
                await job.alive()
            moved.append("all the time")
            await wait

        await Turns(handler).run()

        assert ["all the time"] == moved


class TestSuspendedJobThatIsGivenBack:
    async def test_has_not_ended_well(self) -> None:
        """What the function returns after it has swallowed both cancellations is no result."""
        task: asyncio.Task[object] | None = None

        async def handler(job: JobContext) -> str:
            try:
                await job.step.sleep("nap", 10)
            except asyncio.CancelledError:
                assert task is not None
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            return "done"

        task = asyncio.create_task(Turns(handler).run())
        await asyncio.wait((task,), timeout=10)

        assert task.cancelled()
