"""How late the event loop is: everything a service does waits for as long.

A task asks to be woken four times a second and measures how much later it was. It cannot see the
loop while that is stuck; a thread does, and notes where.
"""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from traceback import format_stack

import structlog

from shared.telemetry import metrics

INTERVAL = 0.25
"""Seconds between two beats."""

STALL = 1.0
"""Lag in seconds that is worth a warning."""

STUCK = 10.0
"""Seconds after which it is told that the loop is stuck, without waiting for its end."""

REMEMBERED = 10.0
"""Seconds for which the longest lag is kept."""

MAX_FRAMES = 15

log = structlog.get_logger()


class LoopLag:
    """Measures one loop; `run` is a background task of the service."""

    installed: "LoopLag | None" = None
    """The one of this process, while it runs."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = clock()
        self._lags: deque[tuple[float, float]] = deque()
        self._thread_id = threading.get_ident()
        self._ended = threading.Event()
        self._seen = (-1.0, "")  # after which beat the loop was seen to be late, and where

    def current(self) -> float:
        """Return the longest lag of the last ten seconds, the present one included."""
        now = self._clock()
        recent = [lag for at, lag in self._lags if now - at <= REMEMBERED]
        return max(0.0, now - self._beat - INTERVAL, *recent)

    async def run(self) -> None:
        """Measure until cancelled."""
        self._thread_id = threading.get_ident()
        self._beat = self._clock()
        watchdog = threading.Thread(target=self._watch, name="loop watchdog", daemon=True)
        watchdog.start()
        LoopLag.installed = self
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                self.beat()
        finally:
            LoopLag.installed = None
            self._ended.set()
            watchdog.join(STALL)  # which this has woken, unless nobody reads what it has to say

    def beat(self) -> None:
        """Take notice that the loop goes on."""
        now = self._clock()
        lag = max(0.0, now - self._beat - INTERVAL)
        late_after, where = self._seen
        if late_after != self._beat:
            where = ""  # seen too late: it belongs to an earlier beat
        self._beat = now
        self._lags.append((now, lag))
        while now - self._lags[0][0] > REMEMBERED:
            self._lags.popleft()
        metrics.loop_lag.observe(lag)
        metrics.loop_lag_max.set(self.current())
        if lag >= STALL:
            # Without a place when all of the process stood still, its watchdog too.
            log.warning("event_loop_stalled", duration_s=round(lag, 3), where=where or None)

    def _watch(self) -> None:
        told, looked = 0.0, self._clock()
        while not self._ended.wait(INTERVAL):
            last, looked = looked, self._clock()
            beat, lag = self._beat, looked - self._beat - INTERVAL
            # A process that was frozen has no place where it was stuck.
            if looked - last > STALL or lag < STALL / 2:
                continue
            if self._seen[0] != beat:
                self._seen = (beat, self._stack())
            if lag >= STUCK and told != beat:
                told = beat
                log.error("event_loop_stuck", for_s=round(lag, 3), where=self._seen[1])

    def _stack(self) -> str:
        """Return what the loop's thread is doing, its innermost frames."""
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - there is no other way
        return "".join(format_stack(frame)[-MAX_FRAMES:]) if frame else ""


def current() -> float:
    """Return the longest lag of this process's loop in the last ten seconds; 0 if not measured."""
    return LoopLag.installed.current() if LoopLag.installed else 0.0
