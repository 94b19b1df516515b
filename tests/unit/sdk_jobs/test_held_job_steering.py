"""What a job in a worker's hands says beside its end, and how it is told to end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mainstay.jobs import StepRejectedError
from mainstay.jobs.assignment import (
    AssignedJob,
    Failed,
    Outcome,
    Released,
    Reporter,
    Stopped,
    Succeeded,
    Suspended,
)
from mainstay.jobs.held_job import Execute
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.held import Hold
from tests.unit.sdk_jobs.recorded_reports import assigned_job

NAP = pb.WaitBegun(key="nap", sleep=pb.SleepWait())


class Handler:
    """An attempt that waits until it is cancelled, and then ends as the test says."""

    def __init__(self, then: Callable[[], Awaitable[Outcome]] | None = None) -> None:
        self.begun = asyncio.Event()
        self.message = ""
        self.reason: str | None = None
        self._then = then

    async def execute(self, job: AssignedJob, reporter: Reporter) -> Outcome:
        """Wait for the cancellation."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            self.message, self.reason = str(cancelled), reporter.cancel_reason
            if self._then is None:
                raise
            return await self._then()
        raise AssertionError("was not cancelled")


async def cancel(hold: Hold, handler: Handler) -> pb.Report:
    """Start the job, cancel it, and return its end."""
    hold.held.start(handler.execute)
    await handler.begun.wait()
    hold.held.cancel("no longer wanted")
    return (await hold.next_letter()).report


class TestCancelledJob:
    async def test_says_that_it_has_stopped(self) -> None:
        """Once its function has ended, which is told why."""
        handler = Handler()

        report = await cancel(Hold(), handler)

        assert report.HasField("stopped")
        assert handler.message.endswith("was cancelled: no longer wanted")
        assert "no longer wanted" == handler.reason

    async def test_may_end_well_all_the_same(self) -> None:
        """A function that was about to return has returned."""

        async def then() -> Outcome:
            return Succeeded(result_json="1")

        report = await cancel(Hold(), Handler(then))

        assert report.HasField("completed")

    async def test_gets_no_further_step(self) -> None:
        """Whatever the function makes of its cancellation."""
        hold = Hold()

        async def then() -> Outcome:
            await hold.held.step_completed("more", "1", compensable=False)
            raise AssertionError("went on")

        report = await cancel(hold, Handler(then))

        assert report.HasField("stopped")

    async def test_hears_of_it_once(self) -> None:
        """The same directive comes with every heartbeat until it is followed."""
        hold, times = Hold(), 0

        async def then() -> Outcome:
            nonlocal times
            times += 1
            hold.held.cancel("again")
            await asyncio.sleep(0)
            return Stopped()

        await cancel(hold, Handler(then))

        assert (1, "no longer wanted") == (times, hold.held.cancel_reason)

    async def test_goes_on_undoing(self) -> None:
        """What is half undone helps nobody."""
        hold = Hold(assigned_job(rollback=("a",)))
        goes_on = asyncio.Event()

        async def execute(job: AssignedJob, reporter: Reporter) -> Outcome:
            await goes_on.wait()
            return Succeeded(result_json="null")

        hold.held.start(execute)
        hold.held.cancel("no longer wanted")
        goes_on.set()

        assert (await hold.next_letter()).report.HasField("completed")


class TestReports:
    @pytest.mark.parametrize(
        ("say", "expected"),
        [
            (
                lambda reporter: reporter.step_completed("a", "1", compensable=True),
                pb.Report(
                    step_completed=pb.StepCompleted(key="a", result_json="1", compensable=True)
                ),
            ),
            (lambda reporter: reporter.wait_begun(NAP), pb.Report(wait_begun=NAP)),
            (
                lambda reporter: reporter.step_compensated("a"),
                pb.Report(step_compensated=pb.StepCompensated(key="a")),
            ),
        ],
    )
    async def test_are_waited_for(
        self, say: Callable[[Reporter], Awaitable[None]], expected: pb.Report
    ) -> None:
        """What comes next may rely on it that they are stored."""
        hold = Hold()
        hold.held.start(saying(say))

        letter = await hold.next_letter()
        assert expected == letter.report
        hold.answer(letter, pb.ACK_STATE_STORED)

        assert (await hold.next_letter()).report.HasField("completed")

    @pytest.mark.parametrize(
        ("say", "what"),
        [
            (lambda r: r.step_completed("a", "1", compensable=False), "the result of step 'a'"),
            (lambda r: r.wait_begun(NAP), "the wait of step 'nap'"),
            (lambda r: r.step_compensated("a"), "the undoing of step 'a'"),
        ],
    )
    async def test_may_be_refused(
        self, say: Callable[[Reporter], Awaitable[None]], what: str
    ) -> None:
        """The function gets an error that says what, and why."""
        hold = Hold()
        hold.held.start(saying(say))

        hold.answer(await hold.next_letter(), pb.ACK_STATE_REJECTED, "too large")

        failed = (await hold.next_letter()).report.failed
        assert f"{what} was refused: too large" == failed.message
        assert StepRejectedError.__name__ == failed.kind


class TestSuspendedJob:
    async def test_names_what_it_waits_for(self) -> None:
        """The service wakes it as soon as one of these is done."""
        hold = Hold()
        hold.held.start(ending(Suspended(keys=("a", "b"))))

        assert ["a", "b"] == list((await hold.next_letter()).report.suspended.keys)

    @pytest.mark.parametrize(
        "outcome", [Suspended(keys=("a",)), Stopped(), Failed(kind="", message="")]
    )
    async def test_is_handed_back_when_its_end_is_refused(self, outcome: Outcome) -> None:
        """As every job whose end cannot be told: it must not stay open for ever."""
        hold = Hold()
        hold.held.start(ending(outcome))

        hold.answer(await hold.next_letter(), pb.ACK_STATE_REJECTED)

        assert Released().report() == (await hold.next_letter()).report


def saying(say: Callable[[Reporter], Awaitable[None]]) -> Execute:
    """Return an attempt that says something and ends well."""

    async def execute(job: AssignedJob, reporter: Reporter) -> Outcome:
        await say(reporter)
        return Succeeded(result_json="null")

    return execute


def ending(outcome: Outcome) -> Execute:
    """Return an attempt that ends so."""

    async def execute(job: AssignedJob, reporter: Reporter) -> Outcome:
        return outcome

    return execute


class TestJobThatIsGivenBack:
    @pytest.mark.parametrize("ends", ["by telling", "by raising"])
    async def test_has_not_failed_when_it_fails_to_stop(self, ends: str) -> None:
        """What a handler raises while it is cancelled burns no attempt."""
        hold, began = Hold(), asyncio.Event()

        async def execute(job: AssignedJob, reporter: Reporter) -> Outcome:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if ends == "by raising":
                    raise OSError("close failed") from None
            return Failed(kind="OSError", message="close failed")

        hold.held.start(execute)
        await began.wait()
        hold.held.release()

        assert Released().report() == (await hold.next_letter()).report
