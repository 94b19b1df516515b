"""Verdicts by name, as of now: for whoever polls, whichever way."""

from collections.abc import Callable, Collection, Iterator

from services.health.rollup import Report
from services.health.target import SUITE
from services.health.verdict import Groups, Verdict, judge


class Verdicts:
    """Judges by name, and once for all who ask while `report` returns the same."""

    def __init__(self, report: Callable[[], Report], *, groups: Groups, floor: float) -> None:
        self.report = report
        self._groups = groups
        self._floor = floor
        self._judged: Report | None = None
        self._verdicts: dict[str, Verdict] = {}

    def of(self, name: str) -> Verdict | None:
        """Return the verdict on a target, replica, group or `suite`; None when there is none."""
        report = self.report()
        if report is not self._judged:
            self._judged, self._verdicts = report, {}
        verdict = self._verdicts.get(name)
        if verdict is None:
            verdict = judge(report, name, groups=self._groups, floor=self._floor)
            # What nobody knows is not kept: there is no end of such names.
            if verdict is not None:
                self._verdicts[name] = verdict
        return verdict

    def serving(self, name: str) -> bool | None:
        """Return whether new traffic for a name is welcome; None when nobody knows it."""
        verdict = self.of(name)
        return None if verdict is None else verdict.ready

    def names(self) -> Collection[str]:
        """Return every name that there is a verdict on."""
        return [SUITE, *self._groups, *_names(self.report())]


def _names(report: Report) -> Iterator[str]:
    for check in report.checks:
        yield check.target.name
        yield from (each.target.name for each in check.replicas)
