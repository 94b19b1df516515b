"""From what is known of each target to one report; pure, so an answer can afford it.

A target that is well by itself is degraded while one that it needs is not well. Then:

====================  ==========================  ==========================
a target that is      counts, when critical, as   counts, when optional, as
====================  ==========================  ==========================
healthy               healthy                     healthy
degraded              degraded                    degraded
unknown               unknown                     degraded
unhealthy             unhealthy                   degraded
maintenance           nothing                     nothing
====================  ==========================  ==========================

What is down to a maintenance alone counts nothing either: it is planned. Only a critical target
that fails by itself does, whatever it needs is out for.

The whole is the worst of them, in the order healthy, degraded, unknown, unhealthy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.health.maintenance import Maintenance, Mode
from services.health.state import Damping, Observation, Standing, State, is_worse, worst
from services.health.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What the report says of one target.

    Attributes:
        target: Which.
        own: Its state by itself, after damping and ageing.
        state: Its state with what it needs taken into account.
        because: The targets that failed by themselves and that this one needs, ordered by name.
        message: Why it is not healthy; empty when it is.
        since: When the state began, or None while nothing is known.
        last: The last probe (of a service, its slowest replica's), or None before the first ended.
        found_by: The request id of the probe that found what is wrong; of the last one when all is
            well; empty before the first ended.
        maintenance: Set while it is out of service on purpose.
        replicas: Of a service, what is known of each replica, ordered by name.
        planned: Whether it is worse than healthy for nothing but a maintenance of what it needs.

    """

    target: Target
    own: State
    state: State
    because: tuple[str, ...] = ()
    message: str = ""
    since: datetime | None = None
    last: Observation | None = None
    found_by: str = ""
    maintenance: Maintenance | None = None
    replicas: tuple["Check", ...] = ()
    planned: bool = False

    @property
    def unprobed(self) -> bool:
        """Whether nothing is known yet: the first probe is under way."""
        return self.own is State.UNKNOWN and self.last is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the suite is, at one moment.

    Attributes:
        state: The roll-up of the checks.
        time: When the newest knowledge in it was gained.
        checks: One for each target, ordered by name; replicas stand in their services' checks.
        maintenance: Set while the whole is out of service on purpose.

    """

    state: State
    time: datetime
    checks: tuple[Check, ...]
    maintenance: Maintenance | None = None

    def check(self, name: str) -> Check | None:
        """Return the check of a target or a replica, or None when there is none."""
        for check in self.checks:
            if check.target.name == name:
                return check
            for each in check.replicas:
                if each.target.name == name:
                    return each
        return None


def examine(
    target: Target,
    standing: Standing | None,
    damping: Damping,
    now: float,
    maintenance: Maintenance | None = None,
) -> Check:
    """Return what can be said of a probed target by itself, `now` (monotonic seconds)."""
    if standing is None:
        check = _plain(target, State.UNKNOWN, "The first probe is under way.")
    elif (age := now - standing.last.at) > damping.stale_after:
        check = Check(
            target=target,
            own=State.UNKNOWN,
            state=State.UNKNOWN,
            message=f"The last probe ended {age:.1f} s ago; after {damping.stale_after:g} s its "
            "answer is not trusted.",
            last=standing.last,
            found_by=standing.last.request_id,
        )
    else:
        held = standing.held
        check = Check(
            target=target,
            own=held.state,
            state=held.state,
            message=_why(standing, damping),
            since=standing.since,
            last=standing.last,
            found_by=held.request_id,
        )
    return check if maintenance is None else in_maintenance(check, maintenance)


def in_maintenance(check: Check, maintenance: Maintenance) -> Check:
    """Return the check of a target that is out of service on purpose."""
    return replace(
        check,
        own=State.MAINTENANCE,
        state=State.MAINTENANCE,
        because=(),
        message=f"Out of service on purpose: {maintenance.reason}",
        since=maintenance.start_time,
        maintenance=maintenance,
    )


def examine_service(target: Target, replicas: Sequence[Check]) -> Check:
    """Return what can be said of a service by itself, from the checks of its replicas.

    It works as long as one replica does; what is left of it is degraded.
    """
    in_service = [check for check in replicas if check.own is not State.MAINTENANCE]
    # One that has just been found is no news as long as others are known.
    in_service = [check for check in in_service if not check.unprobed] or in_service
    if not replicas:
        return _plain(target, State.UNKNOWN, "No replica of it is known.")
    if not in_service:
        return _all_out(target, replicas)
    fit = [check for check in in_service if check.own in _TAKE_TRAFFIC]
    if fit and any(check.own is not State.HEALTHY for check in in_service):
        state = State.DEGRADED
    else:
        state = worst(check.own for check in in_service)
    failing = next((check for check in in_service if check.own is not State.HEALTHY), None)
    shown = failing or in_service[0]
    return replace(
        _plain(target, state, _of_replicas(in_service, failing)),
        since=_since(in_service, whole=not fit or failing is None),
        last=max(
            (check.last for check in in_service if check.last),
            key=lambda seen: seen.latency,
            default=None,
        ),
        found_by=shown.found_by,
        replicas=tuple(replicas),
    )


def apply_needs(checks: Mapping[str, Check]) -> tuple[Check, ...]:
    """Return the checks, ordered by name, each with what it needs taken into account."""
    return tuple(_with_causes(checks[name], checks) for name in sorted(checks))


def root_causes(name: str, checks: Mapping[str, Check]) -> tuple[str, ...]:
    """Return the targets that failed by themselves and that `name` needs, ordered by name.

    Of a chain it is the far end: a target whose own needs failed is not a root.
    """
    roots: set[str] = set()
    seen = {name}
    pending = list(checks[name].target.needs)
    while pending:
        needed = pending.pop()
        if needed in seen or needed not in checks:
            continue
        seen.add(needed)
        deeper = checks[needed].target.needs
        failed_below = any(_failed(checks[below]) for below in deeper if below in checks)
        if _failed(checks[needed]) and not failed_below:
            roots.add(needed)
        pending.extend(deeper)
    return tuple(sorted(roots))


def roll_up(checks: Iterable[Check]) -> State:
    """Return the state of the whole; of nothing at all, nothing is known."""
    listed = tuple(checks)
    in_service = [check for check in listed if check.state is not State.MAINTENANCE]
    if listed and not in_service:
        return State.MAINTENANCE
    return worst(map(_weigh, in_service))


# What balancers may send traffic to.
_TAKE_TRAFFIC = {State.HEALTHY, State.DEGRADED}


def _plain(target: Target, state: State, message: str) -> Check:
    return Check(target=target, own=state, state=state, message=message)


def _with_causes(check: Check, checks: Mapping[str, Check]) -> Check:
    if check.own is State.MAINTENANCE:
        return check
    because = root_causes(check.target.name, checks)
    roots = [checks[name] for name in because]
    well = check.own is State.HEALTHY
    planned = bool(roots) and all(root.own is State.MAINTENANCE for root in roots)
    planned = planned and (well or not check.target.critical)
    if not because or not well:
        return replace(check, because=because, planned=planned)
    starts = [root.since for root in roots if root.since]
    return replace(
        check,
        state=State.DEGRADED,
        because=because,
        message="; ".join(f"{root.target.name}: {root.message}" for root in roots),
        since=max(starts, default=None),
        found_by=roots[0].found_by,
        planned=planned,
    )


def _failed(check: Check) -> bool:
    """Tell whether a target is worth a word to those who need it; not so before its first probe."""
    return check.own is not State.HEALTHY and not check.unprobed


def _weigh(check: Check) -> State:
    if check.planned:
        return State.HEALTHY
    if check.target.critical or not is_worse(check.state, State.DEGRADED):
        return check.state
    return State.DEGRADED


def _all_out(target: Target, replicas: Sequence[Check]) -> Check:
    # Drained while one of them still finishes what it has; until the first of them is back.
    reasons = (each.maintenance for each in replicas if each.maintenance)
    first = min(
        reasons, key=lambda each: (each.mode is not Mode.DRAIN, each.end_time), default=None
    )
    message = "All replicas are out of service on purpose."
    check = _plain(target, State.MAINTENANCE, message)
    return replace(check, maintenance=first, replicas=tuple(replicas))


def _of_replicas(in_service: Sequence[Check], failing: Check | None) -> str:
    if failing is None:
        return ""
    if len(in_service) == 1:
        return failing.message
    count = sum(check.own is not State.HEALTHY for check in in_service)
    return f"{count} of {len(in_service)} replicas: {failing.message}"


def _since(in_service: Sequence[Check], *, whole: bool) -> datetime | None:
    """Return when the state of a service began: the last replica's, or the first to fail."""
    if whole:
        return max((check.since for check in in_service if check.since), default=None)
    failing = [check for check in in_service if check.own is not State.HEALTHY]
    return min((check.since for check in failing if check.since), default=None)


def _why(standing: Standing, damping: Damping) -> str:
    message = standing.held.message
    if standing.against and is_worse(standing.state, standing.last.state):
        return f"{message} Recovering: {standing.against} of {damping.rise} probes passed since."
    return message
