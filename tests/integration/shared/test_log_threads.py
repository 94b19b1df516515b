"""Log lines of other threads than the event loop's, such as that of its watchdog."""

import asyncio
import io
import threading

import pytest

from shared.telemetry.lines import LineWriter


class TestAnotherThread:
    async def test_writes_without_touching_the_loops_timers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are the loop's own; what it has collected is written, and what comes later too."""
        out = io.StringIO()
        writer = LineWriter(out)
        threads: list[int] = []
        cancel = asyncio.TimerHandle.cancel

        def cancelling(timer: asyncio.TimerHandle) -> None:
            threads.append(threading.get_ident())
            cancel(timer)

        monkeypatch.setattr(asyncio.TimerHandle, "cancel", cancelling)
        writer.add("collected")
        await asyncio.to_thread(writer.add_now, "urgent")
        written = out.getvalue()
        writer.add("later")
        async with asyncio.timeout(5):
            while "later" not in out.getvalue():  # noqa: ASYNC110 - no event tells of a line
                await asyncio.sleep(0.005)

        assert "collected\nurgent\n" == written
        assert set(threads) <= {threading.get_ident()}
