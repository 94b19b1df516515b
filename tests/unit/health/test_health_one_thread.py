"""Blocking questions: one thread at most, and nobody who waits for it is held up."""

import asyncio
import threading

import pytest

from services.health.one_thread import OneThread


class Held:
    """A question that is answered when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()

    def __call__(self) -> int:
        self.asked += 1
        self.may_answer.wait(20)
        return self.asked


class TestAnswers:
    async def test_each_question_is_asked_anew(self) -> None:
        """What was answered before is not answered again."""
        question = Held()
        question.may_answer.set()
        thread = OneThread("test", question)

        assert [1, 2] == [await thread.ask(), await thread.ask()]

    async def test_a_failure_is_the_askers(self) -> None:
        """It comes out where the question was asked."""

        def fail() -> None:
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            await OneThread("test", fail).ask()


class TestHanging:
    async def test_there_is_one_thread(self) -> None:
        """Who asks while one hangs waits for it, and may give up; another is not started."""
        question = Held()
        thread = OneThread("test", question)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(thread.ask(), 0.01)
        last = asyncio.create_task(thread.ask())
        question.may_answer.set()

        assert 1 == await asyncio.wait_for(last, 10)
        assert 1 == question.asked
        assert 2 == await asyncio.wait_for(thread.ask(), 10)

    def test_it_holds_up_no_exit(self) -> None:
        """Neither the end of its loop, nor that of the process."""
        question = Held()

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(OneThread("held", question).ask(), 0.01)

        asyncio.run(give_up())
        (hanging,) = [each for each in threading.enumerate() if each.name == "held"]
        question.may_answer.set()
        hanging.join(10)

        assert hanging.daemon
        assert not hanging.is_alive()
