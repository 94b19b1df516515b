"""From what is known of each target to one report; pure, so an answer can afford it.

====================  ==========================  ==========================
a target that is      counts, when critical, as   counts, when optional, as
====================  ==========================  ==========================
healthy               healthy                     healthy
degraded              degraded                    degraded
unknown               unknown                     degraded
unhealthy             unhealthy                   degraded
====================  ==========================  ==========================

The whole is the worst of them, in the order healthy, degraded, unknown, unhealthy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.health.state import Damping, Observation, Standing, State

# Unknown is worse than degraded: degraded still invites traffic, and nobody knows whether to.
_BADNESS = {State.HEALTHY: 0, State.DEGRADED: 1, State.UNKNOWN: 2, State.UNHEALTHY: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that is probed; `critical` when the suite is of no use without it."""

    name: str
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What the report says of one target.

    Attributes:
        target: Which.
        state: Its state after damping and ageing.
        message: Why it is not healthy; empty when it is.
        last: The last probe, or None before the first one ended.

    """

    target: Target
    state: State
    message: str = ""
    last: Observation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the suite is, at one moment.

    Attributes:
        state: The roll-up of the checks.
        time: When the newest knowledge in it was gained.
        checks: One for each target, ordered by name.

    """

    state: State
    time: datetime
    checks: tuple[Check, ...]


def examine(target: Target, standing: Standing | None, damping: Damping, now: float) -> Check:
    """Return what can be said of a target `now` (monotonic seconds)."""
    if standing is None:
        return Check(target=target, state=State.UNKNOWN, message="The first probe is under way.")
    age = now - standing.last.at
    if age > damping.stale_after:
        message = (
            f"The last probe ended {age:.1f} s ago; after {damping.stale_after:g} s its answer is "
            "not trusted."
        )
        return Check(target=target, state=State.UNKNOWN, message=message, last=standing.last)
    state = State.UNHEALTHY if standing.failed else State.HEALTHY
    return Check(target=target, state=state, message=_why(standing, damping), last=standing.last)


def roll_up(checks: Iterable[Check]) -> State:
    """Return the state of the whole; of nothing at all, nothing is known."""
    return max(map(_weigh, checks), key=_BADNESS.__getitem__, default=State.UNKNOWN)


def _weigh(check: Check) -> State:
    if check.target.critical:
        return check.state
    return min(check.state, State.DEGRADED, key=_BADNESS.__getitem__)


def _why(standing: Standing, damping: Damping) -> str:
    if standing.failed is None:
        return ""
    message = standing.failed.message
    if standing.against:
        return f"{message} Recovering: {standing.against} of {damping.rise} probes passed since."
    return message
