"""When a target was not well: where an incident begins, gets worse and ends; pure.

It begins when a target turns degraded or unhealthy and ends when it is healthy again. What is
unknown, or out of service on purpose, says nothing: it neither begins an incident nor ends one.

Several observers look at the same targets. What they see at the same time is one incident. Who saw
it last is its observer, and ends it; a second one that still sees it takes it over and opens it
again. So the last word wins, and it is the word of one who looks: an observer that is silent for
five minutes has none.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.health.history import Incident
from services.health.minutes import Held
from services.health.state import State, is_worse


class IncidentLog:
    """The incidents that one observer saw: those that last, and those not written yet."""

    def __init__(self, new_id: Callable[[], str], *, capacity: int) -> None:
        self._new_id = new_id
        self._capacity = capacity
        self._open: dict[str, Incident] = {}
        self._ended: deque[Incident] = deque()
        self.dropped = 0

    @property
    def unwritten(self) -> Sequence[Incident]:
        """Return what is to be written, in the order in which it happened.

        Those that last are among them each time: another observer may have ended them.
        """
        return [*self._ended, *self._open.values()]

    def see(self, target: str, held: Held, time: datetime) -> bool:
        """Take the state that a target is in; returns whether there is something new to write."""
        known = self._open.get(target)
        if held.state is State.HEALTHY:
            return known is not None and self._end(known, time)
        if held.state not in {State.DEGRADED, State.UNHEALTHY}:
            return False
        if known is not None and not is_worse(held.state, known.worst_state):
            return False
        self._open[target] = Incident(
            incident_id=known.incident_id if known else self._new_id(),
            target=target,
            worst_state=held.state,
            start_time=known.start_time if known else time,
            end_time=None,
            because=held.because or (target,),
            message=held.message,
            request_id=held.request_id,
        )
        return True

    def keep(self, targets: Collection[str], time: datetime) -> bool:
        """End the incidents of all other targets: nobody will see those healthy again."""
        gone = [known for target, known in self._open.items() if target not in targets]
        for known in gone:
            self._end(known, time)
        return bool(gone)

    def settle(self, written: Sequence[Incident]) -> None:
        """Forget those that are over and written."""
        ids = {incident.incident_id for incident in written if incident.end_time is not None}
        self._ended = deque(each for each in self._ended if each.incident_id not in ids)

    def _end(self, known: Incident, time: datetime) -> bool:
        del self._open[known.target]
        self._ended.append(replace(known, end_time=max(known.start_time, time)))
        while len(self._ended) > self._capacity:
            self._ended.popleft()
            self.dropped += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIncident:
    """An incident as all observers know it.

    Attributes:
        incident: What is known of it.
        observer: Who saw it last.
        watched: Whether that one still reports on the target.

    """

    incident: Incident
    observer: str
    watched: bool = True


def merge(known: StoredIncident, seen: Incident, observer: str) -> StoredIncident:
    """Return what is known of an incident once an observer has told what it saw of it."""
    before = known.incident
    foreign = known.observer != observer and known.watched
    if seen.end_time is None:
        end, owner = None, observer
    elif before.end_time is not None:
        end, owner = max(before.end_time, seen.end_time), known.observer
    elif foreign:
        end, owner = None, known.observer
    else:
        end, owner = max(before.start_time, seen.end_time), observer
    told = seen if is_worse(seen.worst_state, before.worst_state) else before
    incident = replace(
        before,
        worst_state=told.worst_state,
        # Another may have seen it begin, and been slower to tell.
        start_time=min(before.start_time, seen.start_time),
        end_time=end,
        because=told.because,
        message=told.message,
        request_id=told.request_id,
    )
    return StoredIncident(incident=incident, observer=owner, watched=True)
