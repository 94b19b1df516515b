"""Tells of changes: a state, a reason or a maintenance is one, a latency is not."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator

from mainstay.errors import UnavailableError
from services.health import metrics
from services.health.rollup import Check, Report

MAX_WATCHERS = 500
PERIOD = 1.0
"""How often to look when no probe ends: answers age, and maintenances begin and end."""
PAUSE = 0.05
"""Seconds between two looks at what is learned: of hundreds of replicas it comes in a burst."""

Listener = Callable[[Report, Report], None]


class Changes:
    """Looks at the report and tells who asked when it reads differently.

    A watcher has an event of its own and reads the latest report when it wakes: one that takes no
    messages delays nobody, and nothing queues up for it.
    """

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report
        self._last = report()
        self._sight = _sight(self._last)
        self._looked = -PAUSE
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._watchers: set[asyncio.Event] = set()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the report before and after each change; it must not wait."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Look every second; for a background task."""
        while True:
            self.look()
            await asyncio.sleep(PERIOD)

    def learned(self) -> None:
        """Look now, or once for all that is learned until a `PAUSE` after the last look."""
        if self._later is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._looked + PAUSE - loop.time()
        if wait > 0:
            self._later = loop.call_later(wait, self._look_at_news)
        else:
            self._look_at_news()

    def look(self) -> None:
        """Look now, and tell if the report reads differently."""
        report = self._report()
        if report is self._last:
            return
        sight = _sight(report)
        before, self._last = self._last, report
        if sight == self._sight:
            return
        self._sight = sight
        metrics.record_report(report)
        for listener in self._listeners:
            listener(before, report)
        self._wake()

    async def watch(self) -> AsyncGenerator[Report, None]:
        """Yield the report now and after every change that its reader was awake for.

        Ends when the service drains. Raises UnavailableError when too many watch already.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise UnavailableError(
                f"{MAX_WATCHERS} watchers are connected already; poll GetReport instead",
                reason="TOO_MANY_WATCHERS",
            )
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            while not self._closed:
                changed.clear()
                yield self._report()
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    async def drain(self) -> None:
        """End every watch, so that none holds up the shutdown."""
        self._closed = True
        self._wake()

    def _look_at_news(self) -> None:
        self._later = None
        self.look()
        self._looked = asyncio.get_running_loop().time()

    def _wake(self) -> None:
        for changed in self._watchers:
            changed.set()


def _sight(report: Report) -> tuple[object, ...]:
    """Return what of a report a reader would call different."""
    return (report.state, report.maintenance, *_sights(report.checks))


def _sights(checks: tuple[Check, ...]) -> Iterator[object]:
    for check in checks:
        yield (check.target.name, check.own, check.state, check.because, check.maintenance)
        yield from _sights(check.replicas)
