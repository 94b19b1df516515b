"""Everything known at one moment: immutable, replaced after every probe, read by every answer."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from services.health.rollup import Check, Report, Target, examine, roll_up
from services.health.state import Damping, Observation, Standing, observe


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A target and what is known of it: None until its first probe has ended."""

    target: Target
    standing: Standing | None = None

    def examined(self, damping: Damping, now: float) -> Check:
        """Return what can be said of the target `now`."""
        return examine(self.target, self.standing, damping, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of all targets.

    Attributes:
        damping: How observations turn into states.
        time: When it was made.
        entries: One for each target, ordered by name.

    """

    damping: Damping
    time: datetime
    entries: tuple[Entry, ...]

    @classmethod
    def empty(cls, targets: tuple[Target, ...], *, damping: Damping, time: datetime) -> Self:
        """Return the snapshot of a service that has just begun: every target is unknown."""
        ordered = sorted(targets, key=lambda target: target.name)
        entries = tuple(Entry(target=target) for target in ordered)
        return cls(damping=damping, time=time, entries=entries)

    @property
    def complete(self) -> bool:
        """Whether every target has been probed at least once."""
        return all(entry.standing for entry in self.entries)

    def after(self, seen: Observation) -> Self:
        """Return the snapshot with one more observation in it."""
        entries = tuple(
            replace(entry, standing=observe(entry.standing, seen, self.damping))
            if entry.target.name == seen.target
            else entry
            for entry in self.entries
        )
        return replace(self, time=seen.time, entries=entries)

    def check(self, name: str, now: float) -> Check:
        """Return what can be said `now` of the target called `name`."""
        return next(
            entry.examined(self.damping, now) for entry in self.entries if entry.target.name == name
        )

    def report(self, now: float) -> Report:
        """Return the report as of `now`, in monotonic seconds.

        Ages are judged here and not when a probe ends: if probing stopped, every answer turns to
        unknown by itself.
        """
        checks = tuple(entry.examined(self.damping, now) for entry in self.entries)
        return Report(state=roll_up(checks), time=self.time, checks=checks)
