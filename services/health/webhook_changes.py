"""Which changes of state are worth telling, and what is told; pure.

A state is told once it has lasted for a while (`debounce`), and only when it differs from the one
told last. What never lasts that long is flapping: after six times the debounce the worst of its
states is told, once, until it settles.

The first state of a target is told only when it is degraded or unhealthy: a start is no change.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.health.minutes import Held
from services.health.state import State, is_worse

FLAPPING_AFTER = 6
"""Times the debounce."""
EVENT_TYPE = "health.state.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A change of state that is to be told.

    Attributes:
        webhook_id: The same for the same change, whichever instance tells it: see `webhook_id_of`.
        target: The target, or `suite`.
        before: The state told before; unknown the first time.
        now: The state now, and why.
        since: When it began.
        flapping: Whether it does not last: this is the worst of several.

    """

    webhook_id: str
    target: str
    before: State
    now: Held
    since: datetime
    flapping: bool = False


@dataclass(slots=True, kw_only=True)
class _Watched:
    """What is going on with one target; `began` and `unsettled` are of the monotonic clock.

    `told` is None before the first state that lasted; `unsettled` is None while the state lasts.
    """

    now: Held
    began: float
    since: datetime
    worst: Held
    unsettled: float | None
    unsettled_since: datetime
    told: State | None = None

    def turn(self, held: Held, now: float, time: datetime) -> None:
        """Begin another state."""
        if self.unsettled is None:
            self.unsettle(held, now, time)
        self.now, self.began, self.since = held, now, time
        if is_worse(held.state, self.worst.state):
            self.worst = held

    def unsettle(self, worst: Held, now: float, time: datetime) -> None:
        """Begin to wait for a state that lasts."""
        self.worst, self.unsettled, self.unsettled_since = worst, now, time

    def is_news(self, state: State) -> bool:
        """Return whether a state is worth telling."""
        if self.told is None:
            return state in {State.DEGRADED, State.UNHEALTHY}
        return state is not self.told


class Debouncer:
    """Turns the states that targets are in into changes that are told."""

    def __init__(self, debounce: float) -> None:
        self._debounce = debounce
        self._flapping_after = FLAPPING_AFTER * debounce
        self._watched: dict[str, _Watched] = {}

    def see(self, states: Mapping[str, Held], now: float, time: datetime) -> None:
        """Take the states as of `now`, in monotonic seconds; `time` is the same for people."""
        for target, held in states.items():
            watched = self._watched.get(target)
            if watched is None:
                self._watched[target] = _Watched(
                    now=held, began=now, since=time, worst=held, unsettled=now, unsettled_since=time
                )
            elif held.state is watched.now.state:
                watched.now = held
            else:
                watched.turn(held, now, time)
        for target in self._watched.keys() - states.keys():
            del self._watched[target]

    def due(self, now: float, time: datetime) -> Iterator[StateChange]:
        """Yield what is to be told now, and take it for told."""
        for target, watched in self._watched.items():
            if watched.unsettled is None:
                continue
            if now - watched.began >= self._debounce:
                watched.unsettled = None
                yield from self._tell(target, watched, watched.now, watched.since)
            elif now - watched.unsettled >= self._flapping_after:
                worst, since = watched.worst, watched.unsettled_since
                watched.unsettle(watched.now, now, time)
                yield from self._tell(target, watched, worst, since, flapping=True)

    def wait(self, now: float) -> float | None:
        """Return in how many seconds something may be due; None while every state lasts."""
        waits = [
            min(each.began + self._debounce, each.unsettled + self._flapping_after) - now
            for each in self._watched.values()
            if each.unsettled is not None
        ]
        return max(0.0, min(waits)) if waits else None

    def _tell(
        self,
        target: str,
        watched: _Watched,
        held: Held,
        since: datetime,
        *,
        flapping: bool = False,
    ) -> Iterator[StateChange]:
        before, news = watched.told, watched.is_news(held.state)
        if before is not None or held.state is not State.UNKNOWN:
            watched.told = held.state
        if news:
            yield StateChange(
                webhook_id=webhook_id_of(target, held.state, since, self._debounce),
                target=target,
                before=before or State.UNKNOWN,
                now=held,
                since=since,
                flapping=flapping,
            )


def webhook_id_of(target: str, state: State, since: datetime, debounce: float) -> str:
    """Return the id of a change: of the same window of time, it is the same for all instances.

    Two changes of a target to the same state are at least two debounces apart, with another state
    told in between, so that windows of that length never give two changes one id. Instances see a
    change some seconds apart: at the edge of a window it has two ids, and is told twice.
    """
    window = int(since.timestamp() // (2 * debounce))
    digest = hashlib.sha256(f"{target}\n{state.value}\n{window}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


def payload(change: StateChange) -> dict[str, Any]:
    """Return what receivers read."""
    return {
        "type": EVENT_TYPE,
        "timestamp": _written(change.since),
        "data": {
            "target": change.target,
            "state": change.now.state.value,
            "before": change.before.value,
            "since": _written(change.since),
            "because": list(_causes(change)),
            "message": change.now.message,
            "request_id": change.now.request_id,
            "flapping": change.flapping,
        },
    }


def _causes(change: StateChange) -> Iterable[str]:
    return () if change.now.state is State.HEALTHY else change.now.because


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
