"""An event loop that is held up: measured, and found where."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.telemetry import loop_lag
from shared.telemetry.loop_lag import LoopLag
from tests.integration.shared.probe import probe_service

Lines = Iterable[Mapping[str, Any]]


@pytest.fixture
async def measured(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopLag]:
    """Measure the test's own loop, with little patience."""
    monkeypatch.setattr(loop_lag, "INTERVAL", 0.01)
    monkeypatch.setattr(loop_lag, "STALL", 0.1)
    measuring = LoopLag()
    task = asyncio.create_task(measuring.run())
    await asyncio.sleep(0.03)
    yield measuring
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def hold_everybody_up(seconds: float) -> None:
    """Block the loop, as a computation or a blocking call would."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


def stalls(lines: Lines) -> list[dict[str, Any]]:
    """Return the warnings of loops that were held up."""
    return [dict(each) for each in lines if each["event"] == "event_loop_stalled"]


async def told(lines: Lines) -> dict[str, Any]:
    """Wait for the warning."""
    async with asyncio.timeout(5):
        while not (found := stalls(lines)):  # noqa: ASYNC110 - no event tells of a line
            await asyncio.sleep(0.005)
    return found[0]


class TestAStall:
    async def test_is_told_with_its_place(self, measured: LoopLag) -> None:
        """How long nothing went on, and what the loop was doing."""
        with capture_logs() as lines:
            hold_everybody_up(0.4)
            line = await told(lines)

        assert "warning" == line["log_level"]
        assert 0.3 < float(str(line["duration_s"])) < 3
        assert "hold_everybody_up" in str(line["where"])

    async def test_is_told_once(self, measured: LoopLag) -> None:
        """However often the watchdog looks."""
        with capture_logs() as lines:
            hold_everybody_up(0.3)
            await told(lines)
            await asyncio.sleep(0.05)

        assert 1 == len(stalls(lines))

    async def test_without_end_is_told_while_it_lasts(
        self, measured: LoopLag, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody would hear of a loop that never goes on."""
        monkeypatch.setattr(loop_lag, "STUCK", 0.15)
        with capture_logs() as lines:
            hold_everybody_up(0.4)
            during = [each["event"] for each in lines]

        assert ["event_loop_stuck"] == during

    async def test_is_measured(self, measured: LoopLag) -> None:
        """For health while it lasts and a while after, and as a metric."""
        hold_everybody_up(0.2)
        during = loop_lag.current()
        await asyncio.sleep(0.03)
        after = loop_lag.current()

        assert 0.15 < during < 3
        assert 0.15 < after < 3
        assert (REGISTRY.get_sample_value("mainstay_event_loop_lag_max_seconds") or 0) > 0.15

    async def test_is_forgotten(self) -> None:
        """After ten seconds the loop counts as fine again."""
        now = [100.0]
        measuring = LoopLag(clock=lambda: now[0])
        now[0] += 2.25
        measuring.beat()
        seen = [measuring.current()]
        for _ in range(50):
            now[0] += loop_lag.INTERVAL
            measuring.beat()
        seen.append(measuring.current())

        assert [2.0, 0.0] == seen


class SlowToLook(LoopLag):
    """Finds out where the loop is; the first time, the loop has gone on by then."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(clock=lambda: self.now)
        self.places = ["first", "second"]

    def _stack(self) -> str:
        place = self.places.pop(0)
        if place == "first":
            self.beat()
        return place


class Steps(threading.Event):
    """Lets the watchdog look a number of times, at once, `step` seconds after one another."""

    def __init__(self, measured: SlowToLook, times: int, step: float) -> None:
        super().__init__()
        self._measured, self._times, self._step = measured, times, step

    def wait(self, timeout: float | None = None) -> bool:
        self._measured.now += self._step
        self._times -= 1
        return self._times < 0


class TestTheWatchdog:
    def test_does_not_blame_an_earlier_stall(self) -> None:
        """A place that is found when the loop goes on already is not that of the next stall."""
        measured = SlowToLook()
        measured._ended = Steps(measured, times=3, step=0.5)
        with capture_logs() as lines:
            measured._watch()
            measured._ended = Steps(measured, times=4, step=0.5)
            measured._watch()
            measured.beat()

        assert ["second"] == [line["where"] for line in stalls(lines)]


class TestEveryService:
    async def test_measures_its_loop(self) -> None:
        """As long as it runs."""
        async with probe_service() as probe:
            await probe.get("none")
            running = LoopLag.installed is not None
        stopped = LoopLag.installed is None

        assert (True, True) == (running, stopped)
