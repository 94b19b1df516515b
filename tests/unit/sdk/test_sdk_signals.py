"""Running until the process is told to stop."""

import asyncio
import os
import signal
import threading

import pytest

from mainstay.signals import run_until_signal


class TestSignals:
    async def test_first_asks_and_second_cancels(self) -> None:
        """The first lets it end in its own time, the second does not."""
        asked, begun, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def run() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        task = asyncio.create_task(run_until_signal(run, asked.set))
        async with asyncio.timeout(5):
            await begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await asked.wait()
            assert not cancelled.is_set()

            os.kill(os.getpid(), signal.SIGTERM)
            await task

        assert cancelled.is_set()

    async def test_error(self) -> None:
        """What ends it badly is raised."""

        async def run() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await run_until_signal(run, lambda: None)

    def test_outside_of_the_main_thread(self) -> None:
        """Signals cannot be heard there: nothing begins, and so nothing is left behind."""
        began: list[bool] = []
        raised: list[BaseException] = []

        async def run() -> None:
            began.append(True)

        def serve() -> None:
            try:
                asyncio.run(run_until_signal(run, lambda: None))
            except (RuntimeError, ValueError) as error:
                raised.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        thread.join(5)

        assert ([], 1) == (began, len(raised))
