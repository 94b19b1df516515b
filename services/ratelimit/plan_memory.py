"""The plans that this process remembers, at most so many, the least recently learnt go first.

Times are seconds by any clock that never goes back.
"""

from collections import OrderedDict
from typing import NamedTuple

from services.ratelimit.plan_ports import PlanKey
from services.ratelimit.ports import AssignedPlan

MAX_ENTRIES = 10_000
BELIEVED_SECONDS = 300.0


class _Memory(NamedTuple):
    plan: AssignedPlan
    fresh_until: float
    believed_until: float


class PlanMemory:
    """Remembers plans: for a moment as if they were looked up, then in case nobody can be asked."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[str, str], _Memory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def put(self, key: PlanKey, plan: str, *, now: float, fresh_seconds: float) -> AssignedPlan:
        """Remember what was found now, and return it."""
        return self._keep(
            key, _Memory(AssignedPlan(plan), now + fresh_seconds, now + BELIEVED_SECONDS)
        )

    def give_up(self, key: PlanKey, *, now: float, seconds: float) -> AssignedPlan:
        """Return the best that is known when nobody answers, and remember that for a moment."""
        memory = self._entries.get(key)
        if memory is None or now >= memory.believed_until:
            memory = _Memory(AssignedPlan(""), now, now)
        unsure = AssignedPlan(memory.plan.plan, known=False)
        return self._keep(key, _Memory(unsure, now + seconds, memory.believed_until))

    def fresh(self, key: tuple[str, str], now: float) -> AssignedPlan | None:
        """Return a plan that needs no look; a plain tuple is quicker to make than a `PlanKey`."""
        memory = self._entries.get(key)
        return memory.plan if memory is not None and now < memory.fresh_until else None

    def _keep(self, key: PlanKey, memory: _Memory) -> AssignedPlan:
        self._entries[key] = memory
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return memory.plan
