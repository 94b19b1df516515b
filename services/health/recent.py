"""The report, made once for all who ask within a tenth of a second.

It costs as much as everything else about an answer, and more where there are many replicas. A state
that changes is told by the next answer; what changes with every probe or by time alone (a latency,
an answer that ages, a maintenance that ends) so much later.
"""

import time
from collections.abc import Callable

from services.health.rollup import Report
from services.health.snapshot import Snapshot

MAX_AGE = 0.1
"""Seconds for which a report is as of now."""


class Recent:
    """Keeps the last report; `make` makes one of what `snapshot` returns."""

    def __init__(
        self,
        make: Callable[[], Report],
        snapshot: Callable[[], Snapshot],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._snapshot = snapshot
        self._monotonic = monotonic
        self._revision = -1
        self._made_at = 0.0
        self._report: Report | None = None

    def report(self) -> Report:
        """Return the report; the same object as long as nothing is different."""
        revision, now = self._snapshot().revision, self._monotonic()
        report = self._report
        if report is None or revision != self._revision or now - self._made_at >= MAX_AGE:
            report = self._make()
            self._revision, self._made_at, self._report = revision, now, report
        return report
