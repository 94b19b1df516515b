"""The state of one probed target, from what probes saw of it.

A probe makes an `Observation`. Observations in a row move a `Standing`, damped: `fall` of them that
are worse than the state turn it worse, `rise` that are better turn it back, so that one lost packet
is not an outage. Time without observations moves it too, when it is read: see
`services.health.rollup`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """How well something is; the values are what HTTP clients read."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    MAINTENANCE = "maintenance"


# Unknown is worse than degraded: degraded still invites traffic, and nobody knows whether to. What
# is out of service on purpose is nobody's fault.
_BADNESS = {
    State.HEALTHY: 0,
    State.MAINTENANCE: 0,
    State.DEGRADED: 1,
    State.UNKNOWN: 2,
    State.UNHEALTHY: 3,
}


def worst(states: Iterable[State]) -> State:
    """Return the worst; of nothing at all, nothing is known."""
    return max(states, key=_BADNESS.__getitem__, default=State.UNKNOWN)


def is_worse(state: State, than: State) -> bool:
    """Return whether one state is worse than another."""
    return _BADNESS[state] > _BADNESS[than]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one probe saw.

    Attributes:
        target: The name of the target that was probed.
        at: When the probe ended, in seconds of the monotonic clock: ages are computed from it.
        time: The same moment for people.
        latency: How long the probe took, in seconds.
        request_id: The id the probe carried, to be found in the logs of its target.
        state: Healthy when the target answered well, degraded when something about it needs care,
            unhealthy when it did not answer, not in time, or not well.
        message: Why it is not healthy, in a sentence anybody may read: it names no address, user or
            secret.
        cause: The words of the system below, for the log.

    """

    target: str
    at: float
    time: datetime
    latency: float
    request_id: str
    state: State = State.HEALTHY
    message: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damping:
    """When observations change a state.

    Attributes:
        rise: Better ones in a row that turn a target back.
        fall: Worse ones in a row that turn a target worse.
        stale_after: Seconds after which the last observation says nothing any more.

    """

    rise: int
    fall: int
    stale_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a target that was probed at least once.

    Attributes:
        held: The observation that the state stands on: the last one that saw it so.
        since: When the state began.
        last: The last probe, whatever it saw.
        against: How many probes in a row, the last included, saw something else.

    """

    held: Observation
    since: datetime
    last: Observation
    against: int = 0

    @property
    def state(self) -> State:
        """Return the state after damping."""
        return self.held.state


def observe(before: Standing | None, seen: Observation, damping: Damping) -> Standing:
    """Return the standing after one more probe.

    The first observation decides at once, also the first after a silence of `stale_after`: there is
    no trusted state that damping could protect. A streak may mix degraded and unhealthy; the last
    of it says which it becomes.
    """
    if before is None or seen.at - before.last.at > damping.stale_after:
        return Standing(held=seen, since=seen.time, last=seen)
    if seen.state is before.state:
        return replace(before, held=seen, last=seen, against=0)
    # A streak is of one direction: what gets worse says nothing for what gets better.
    falling = is_worse(seen.state, before.state)
    same_way = before.against > 0 and is_worse(before.last.state, before.state) == falling
    against = before.against + 1 if same_way else 1
    if against >= (damping.fall if falling else damping.rise):
        return Standing(held=seen, since=seen.time, last=seen)
    return replace(before, last=seen, against=against)
