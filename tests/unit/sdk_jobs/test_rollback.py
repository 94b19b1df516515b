"""What a job has done is undone by the function that did it, in reverse."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from mainstay.jobs import JobContext, NonRetryableError, RetryAfterError
from mainstay.jobs.assignment import Failed, Succeeded
from tests.unit.sdk_jobs.turns import Turns

DONE = Succeeded(result_json="null")


class Shop:
    """Sells something in three steps, of which the last one always fails."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fail_to_undo: dict[str, Exception] = {}

    async def sell(self, job: JobContext) -> None:
        """Reserve, charge, ship."""
        await job.step.run("reserve", self.do, "reserved", compensate=self.undo)
        charge = functools.partial(self.do, "charged")
        await job.step.parallel({"charge": charge}, compensate=self.undo_plainly)
        await job.step.run("note", self.do, "noted")
        await job.step.run("ship", self.ship, compensate=self.undo)

    async def do(self, what: str) -> str:
        self.done.append(what)
        return what

    async def ship(self) -> str:
        raise OSError("no more boxes")

    async def undo(self, what: str) -> None:
        if what in self.fail_to_undo:
            raise self.fail_to_undo[what]
        self.done.append(f"not {what}")

    def undo_plainly(self, what: str) -> None:
        self.done.append(f"not {what} any more")


@pytest.fixture
async def shop() -> Shop:
    """Provide a shop."""
    return Shop()


@pytest.fixture
async def turns(shop: Shop) -> Turns:
    """Run the turn at the shop's function that fails."""
    turns = Turns(shop.sell)
    await turns.run()
    shop.done.clear()
    return turns


class TestRollback:
    async def test_undoes_in_the_order_that_it_is_told(self, turns: Turns, shop: Shop) -> None:
        """Each by its own function, plain or not, with the result that its step had."""
        assert DONE == await turns.roll_back()
        assert ["not charged any more", "not reserved"] == shop.done

    async def test_reports_each_before_the_next(self, turns: Turns) -> None:
        """So that none is undone twice after a crash."""
        await turns.roll_back()

        assert ["charge", "reserve"] == turns.reports.undone

    async def test_undoes_only_what_it_is_told(self, turns: Turns, shop: Shop) -> None:
        """What was undone in an earlier turn is not named again."""
        await turns.roll_back("reserve")

        assert ["not reserved"] == shop.done

    async def test_runs_no_step(self, turns: Turns, shop: Shop) -> None:
        """Neither again nor for the first time; nor does it report progress."""
        before = list(turns.reports.steps)

        await turns.roll_back()

        assert before == turns.reports.steps
        assert all(what.startswith("not ") for what in shop.done)

    async def test_of_nothing_is_done(self, turns: Turns, shop: Shop) -> None:
        """The function is not even called."""

        async def never(job: JobContext) -> None:
            raise AssertionError("was called")

        assert DONE == await Turns(never).roll_back()

    async def test_gives_typed_results_back(self) -> None:
        """What undoes a step gets what the step returned."""
        undone: list[object] = []

        async def handler(job: JobContext) -> None:
            await job.step.run("charge", charge, compensate=undone.append)

        turns = Turns(handler)
        await turns.run()
        await turns.roll_back()

        assert [Charge(cents=500)] == undone

    async def test_keeps_open_what_the_function_has_opened(self) -> None:
        """A client that it made is still there to undo with, and is closed afterwards."""
        happened: list[str] = []

        @asynccontextmanager
        async def client() -> AsyncIterator[str]:
            happened.append("opened")
            try:
                yield "client"
            finally:
                happened.append("closed")

        async def handler(job: JobContext) -> None:
            async with client() as name:
                undo = functools.partial(happened.append, f"undone by {name}")
                await job.step.run("a", lambda: 1, compensate=lambda _: undo())

        turns = Turns(handler)
        await turns.run()
        happened.clear()
        await turns.roll_back()

        assert ["opened", "undone by client", "closed"] == happened

    async def test_leaves_progress_as_it_is(self) -> None:
        """The function comes by its reports once more, but the job does not get any further."""

        async def handler(job: JobContext) -> None:
            await job.progress(0.1)
            await job.step.run("a", lambda: 1, compensate=str)

        turns = Turns(handler)
        await turns.run()
        await turns.roll_back()

        assert [(0.1, "")] == turns.reports.progresses


@dataclass(frozen=True)
class Charge:
    """Money that was taken."""

    cents: int


async def charge() -> Charge:
    """Take money."""
    return Charge(cents=500)


class TestStepsBesideOthers:
    async def test_are_all_found(self) -> None:
        """Also those whose siblings have no result."""
        undone: list[str] = []

        async def fail() -> str:
            raise OSError("b failed")

        async def handler(job: JobContext) -> None:
            await asyncio.gather(
                job.step.run("b", fail, compensate=undone.append),
                job.step.run("a", lambda: "a", compensate=undone.append),
            )

        turns = Turns(handler)
        await turns.run()
        turns.memo["a"] = '"a"'

        assert DONE == await turns.roll_back("a")
        assert ["a"] == undone

    async def test_are_found_behind_one_whose_error_was_caught(self) -> None:
        """It has no result and never will: it fails once more, and the function goes on."""
        undone: list[str] = []

        async def fail() -> str:
            raise OSError("the fast way is blocked")

        async def handler(job: JobContext) -> None:
            try:
                await job.step.run("fast", fail, compensate=undone.append)
            except Exception:  # noqa: BLE001 - whatever it is
                await job.step.run("slow", lambda: "slow", compensate=undone.append)
            raise OSError("in vain")

        turns = Turns(handler)
        await turns.run()

        assert DONE == await turns.roll_back()
        assert ["slow"] == undone


class TestUndoThatFails:
    @pytest.mark.parametrize(
        ("error", "permanent", "retry_after"),
        [
            (OSError("bank closed"), False, None),
            (RetryAfterError("bank closed", seconds=60), False, 60),
            (NonRetryableError("bank closed"), True, None),
        ],
    )
    async def test_fails_the_turn(
        self,
        turns: Turns,
        shop: Shop,
        error: Exception,
        permanent: bool,
        retry_after: float | None,
    ) -> None:
        """By its own name, with what went wrong in its message; what was undone stays undone."""
        shop.fail_to_undo["reserved"] = error

        assert (
            Failed(
                kind="CompensationFailed",
                message=f"undoing step 'reserve' failed: {type(error).__name__}: bank closed",
                permanent=permanent,
                retry_after=retry_after,
            )
            == await turns.roll_back()
        )
        assert ["charge"] == turns.reports.undone

    async def test_by_its_time_fails_the_turn(self) -> None:
        """As any turn does."""

        async def hang(result: object) -> None:
            await asyncio.Event().wait()

        async def handler(job: JobContext) -> None:
            await job.step.run("a", lambda: 1, compensate=hang)

        turns = Turns(handler)
        await turns.run()
        outcome = await turns.run_for(0.02, rollback=("a",))

        assert Failed(kind="TimedOut", message="this turn took longer than 0.02 s") == outcome


class TestUndoWithStepsOfItsOwn:
    @pytest.mark.parametrize("kind", ["run", "sleep"])
    async def test_fails_the_turn_for_good(self, kind: str) -> None:
        """Nothing new is stored while steps are undone: it would be held without end."""

        async def handler(job: JobContext) -> None:
            async def undo(_: str) -> None:
                if kind == "run":
                    await job.step.run("unmake", str)
                else:
                    await job.step.sleep("unmake", 10)

            await job.step.run("make", str, compensate=undo)
            raise NonRetryableError("no use")

        turns = Turns(handler)
        await turns.run()
        outcome = await turns.roll_back()

        assert isinstance(outcome, Failed)
        assert outcome.permanent
        assert "'unmake'" in outcome.message
        assert "'make'" in outcome.message


class TestUndoThatIsNotThere:
    async def test_fails_the_turn_for_good(self) -> None:
        """Code that no longer comes to the step: somebody has to decide; nothing is undone."""
        undone: list[object] = []

        async def handler(job: JobContext) -> None:
            await job.step.run("a", lambda: 1, compensate=undone.append)
            await job.step.run("b", lambda: 2)

        turns = Turns(handler)
        await turns.run()
        outcome = await turns.roll_back("c", "b", "a")

        assert isinstance(outcome, Failed)
        assert ("CompensationNotFound", True) == (outcome.kind, outcome.permanent)
        assert "what undoes the steps 'c', 'b' of process-video was not found" in outcome.message
        assert [] == undone

    async def test_says_why_the_function_did_not_come_there(self) -> None:
        """Such as by an error before."""

        async def handler(job: JobContext) -> None:
            raise LookupError("no such video")

        outcome = await Turns(handler).roll_back("a")

        assert isinstance(outcome, Failed)
        assert "it ended before, with LookupError: no such video" in outcome.message
