"""The state of one target, from what probes saw of it.

A probe makes an `Observation`. Observations in a row move a `Standing`, damped: `fall` failures
turn a healthy target unhealthy, `rise` successes turn it back, so that one lost packet is not an
outage. Time without observations moves it too, when it is read: see `services.health.rollup`.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """How well something is; the values are what HTTP clients read."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one probe saw: a target that answered well, unless it is a `Failure`.

    Attributes:
        target: The name of the target that was probed.
        at: When the probe ended, in seconds of the monotonic clock: ages are computed from it.
        time: The same moment for people.
        latency: How long the probe took, in seconds.
        request_id: The id the probe carried, to be found in the logs of its target.

    """

    target: str
    at: float
    time: datetime
    latency: float
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Observation):
    """A probe whose target did not answer, not in time, or not well.

    Attributes:
        message: Why, in a sentence anybody may read: it names no address, user or secret.
        cause: The words of the system below, for the log.

    """

    message: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damping:
    """When observations change a state.

    Attributes:
        rise: Successes in a row that turn an unhealthy target healthy.
        fall: Failures in a row that turn a healthy target unhealthy.
        stale_after: Seconds after which the last observation says nothing any more.

    """

    rise: int
    fall: int
    stale_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a target that was probed at least once.

    Attributes:
        failed: The failed probe that makes the target unhealthy, or None when it is healthy.
        last: The last probe, whatever it saw.
        against: How many probes in a row, the last included, saw the opposite of the state.

    """

    failed: Failure | None
    last: Observation
    against: int = 0


def observe(before: Standing | None, seen: Observation, damping: Damping) -> Standing:
    """Return the standing after one more probe.

    The first observation decides at once, also the first after a silence of `stale_after`: there is
    no trusted state that damping could protect.
    """
    failed = seen if isinstance(seen, Failure) else None
    if before is None or seen.at - before.last.at > damping.stale_after:
        return Standing(failed=failed, last=seen)
    if bool(failed) == bool(before.failed):
        return Standing(failed=failed, last=seen)
    against = before.against + 1
    if against >= (damping.fall if failed else damping.rise):
        return Standing(failed=failed, last=seen)
    return replace(before, last=seen, against=against)
