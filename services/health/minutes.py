"""What one observer saw of each target, minute by minute, until it is written; pure.

Time that nobody saw is in no state: it is missing from the sums, and so it is unknown.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.health.state import State, is_worse

MINUTE = 60.0


class Held(NamedTuple):
    """The state that a target is in, and why.

    Attributes:
        state: After damping, with what it needs taken into account.
        message: Why it is not healthy, for people.
        request_id: Of the probe that found it so.
        because: The targets that failed by themselves; itself when it was the one.

    """

    state: State
    message: str = ""
    request_id: str = ""
    because: tuple[str, ...] = ()


class Cell(NamedTuple):
    """A target within a minute since 1970."""

    target: str
    minute: int


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was seen of a target within a minute; times are in seconds."""

    probes: int = 0
    failures: int = 0
    latency_sum: float = 0.0
    latency_max: float = 0.0
    seconds: dict[State, float] = field(default_factory=dict)
    worst: Held | None = None

    @property
    def total(self) -> float:
        """Return the time that was seen."""
        return sum(self.seconds.values())


class Minutes:
    """The tallies that are not written yet: `capacity` of them at most, the oldest go first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tallies: OrderedDict[Cell, Tally] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._tallies)

    def observe(self, target: str, at: float, *, latency: float, failed: bool) -> None:
        """Count a probe that ended at a time, in seconds since 1970."""
        tally = self._tally(target, int(at // MINUTE))
        tally.probes += 1
        tally.failures += failed
        tally.latency_sum += latency
        tally.latency_max = max(tally.latency_max, latency)

    def spend(self, target: str, held: Held, start: float, end: float) -> None:
        """Note that a target was in a state between two times, in seconds since 1970."""
        while start < end:
            minute = int(start // MINUTE)
            stop = min(end, (minute + 1) * MINUTE)
            self._spend(self._tally(target, minute), held, stop - start)
            start = stop

    def take(self, before: int, limit: int) -> Sequence[tuple[Cell, Tally]]:
        """Remove and return some of the minutes that begin before one."""
        over = [cell for cell in self._tallies if cell.minute < before][:limit]
        return [(cell, self._tallies.pop(cell)) for cell in over]

    @staticmethod
    def _spend(tally: Tally, held: Held, seconds: float) -> None:
        # A clock that was set back lives through a minute twice; it still has only sixty seconds.
        seconds = min(seconds, MINUTE - tally.total)
        if seconds <= 0:
            return
        tally.seconds[held.state] = tally.seconds.get(held.state, 0.0) + seconds
        if tally.worst is None or is_worse(held.state, tally.worst.state):
            tally.worst = held

    def _tally(self, target: str, minute: int) -> Tally:
        cell = Cell(target, minute)
        tally = self._tallies.get(cell)
        if tally is None:
            tally = self._tallies[cell] = Tally()
            while len(self._tallies) > self._capacity:
                self._tallies.popitem(last=False)
                self.dropped += 1
        return tally
