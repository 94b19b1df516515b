"""How fast targets answered within the last hour, by the minute: for sparklines, in memory only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.health.minutes import MINUTE
from services.health.prober import utc_now
from services.health.state import Observation, State

SLOTS = 60


@dataclass(slots=True)
class _Slot:
    minute: int
    count: int = 0
    seconds: float = 0.0


class Latencies:
    """`noticed` is to be called by the prober. Probes that found a target unhealthy are left out.

    A probe of a replica counts for its service too.
    """

    def __init__(
        self, *, service_of: Callable[[str], str], wall: Callable[[], datetime] = utc_now
    ) -> None:
        self._service_of = service_of
        self._wall = wall
        self._slots: dict[str, list[_Slot]] = {}
        self._newest = 0

    def noticed(self, seen: Observation | None) -> None:
        """Take a probe."""
        if seen is None or seen.state is State.UNHEALTHY:
            return
        minute = int(seen.time.timestamp() // MINUTE)
        if minute > self._newest:
            self._newest = minute
            self._forget_gone()
        for target in {seen.target, self._service_of(seen.target)}:
            self._add(target, minute, seen.latency)

    def of(self, target: str) -> Sequence[float | None]:
        """Return the mean latency in seconds of each of 60 minutes, the current one last.

        None stands for a minute without an answer.
        """
        last = int(self._wall().timestamp() // MINUTE)
        found: list[float | None] = [None] * SLOTS
        for slot in self._slots.get(target, ()):
            age = last - slot.minute
            if slot.count and 0 <= age < SLOTS:
                found[SLOTS - 1 - age] = slot.seconds / slot.count
        return found

    def _add(self, target: str, minute: int, seconds: float) -> None:
        slots = self._slots.get(target)
        if slots is None:
            slots = self._slots[target] = [_Slot(minute=-SLOTS) for _ in range(SLOTS)]
        slot = slots[minute % SLOTS]
        if slot.minute != minute:
            slot.minute, slot.count, slot.seconds = minute, 0, 0.0
        slot.count += 1
        slot.seconds += seconds

    def _forget_gone(self) -> None:
        """Forget targets that nobody has heard of for an hour, such as replicas that are gone."""
        oldest = self._newest - SLOTS
        self._slots = {
            target: slots
            for target, slots in self._slots.items()
            if max(slot.minute for slot in slots) > oldest
        }
