"""What a balancer is told: one question, one answer, from the report alone.

A report blames; a verdict routes. They differ in three places. What is degraded takes traffic. What
is in maintenance takes none, though nothing is wrong with it. And when most replicas of a service
look sick at once, the fault is rarely theirs: a network between them and us, a shared dependency,
a bad threshold. `floor` is the share of replicas that have to look fit for the verdict on a single
one to count; below it every replica is answered for as ready. (AWS ALB and Envoy do the same with
theirs; here every poller gets it.)
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.health.maintenance import Maintenance, Mode
from services.health.rollup import Check, Report, roll_up
from services.health.state import State
from services.health.target import SUITE, Kind

Groups = Mapping[str, Collection[str]]
"""Names for sets of targets, as configured."""


class Advice(StrEnum):
    """What to do with a target."""

    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    MAINTENANCE = "maint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a balancer is told.

    Attributes:
        name: Whom it is about.
        advice: What to do.
        state: The state it rests on.
        open: Whether it is up only because so many of its kind look sick.
        message: Why, for people; empty when all is well.

    """

    name: str
    advice: Advice
    state: State
    open: bool = False
    message: str = ""

    @property
    def ready(self) -> bool:
        """Whether new traffic is welcome."""
        return self.advice is Advice.UP

    @property
    def degraded(self) -> bool:
        """Whether others should be preferred, where there are any."""
        return self.ready and self.state is not State.HEALTHY


def judge(report: Report, name: str, *, groups: Groups, floor: float) -> Verdict | None:
    """Return the verdict on a target, a replica, a group or the whole; None when there is none."""
    if name == SUITE:
        return _of_state(SUITE, report.state, report.maintenance, _complaint(report.checks))
    if name in groups:
        members = [check for check in report.checks if check.target.name in groups[name]]
        return _of_group(name, members, report.maintenance)
    check = report.check(name)
    if check is None:
        return None
    verdict = _of_check(check)
    if check.target.kind is Kind.REPLICA and verdict.advice is Advice.DOWN:
        service = report.check(check.target.service)
        if service is not None and _looks_shared(service, floor):
            message = f"Answered for as ready, since most replicas look sick. {verdict.message}"
            return Verdict(
                name=name, advice=Advice.UP, state=check.state, open=True, message=message
            )
    return verdict


def _looks_shared(service: Check, floor: float) -> bool:
    """Tell whether so few replicas look fit that the fault is likely not theirs."""
    judged = [each for each in service.replicas if each.own is not State.MAINTENANCE]
    fit = sum(each.own in _FIT for each in judged)
    # Of a single one, its own word is all there is.
    return len(judged) > 1 and fit < floor * len(judged)


_FIT = {State.HEALTHY, State.DEGRADED}


def _of_check(check: Check) -> Verdict:
    return _of_state(check.target.name, check.state, check.maintenance, check.message)


def _of_state(name: str, state: State, maintenance: Maintenance | None, message: str) -> Verdict:
    if state is State.MAINTENANCE:
        drains = maintenance is not None and maintenance.mode is Mode.DRAIN
        advice = Advice.DRAIN if drains else Advice.MAINTENANCE
    else:
        advice = Advice.UP if state in _FIT else Advice.DOWN
    return Verdict(name=name, advice=advice, state=state, message=message)


def _of_group(name: str, members: Collection[Check], whole: Maintenance | None) -> Verdict:
    """Judge a group: as the whole is judged, of its members alone."""
    out = [check for check in members if check.state is State.MAINTENANCE]
    if whole is not None or (out and len(out) == len(members)):
        maintenance = whole or next((each.maintenance for each in out if each.maintenance), None)
        return _of_state(name, State.MAINTENANCE, maintenance, out[0].message if out else "")
    return _of_state(name, roll_up(members), None, _complaint(members))


def _complaint(checks: Collection[Check]) -> str:
    return "; ".join(f"{check.target.name}: {check.message}" for check in checks if _blamed(check))


def _blamed(check: Check) -> bool:
    return bool(check.message) and not check.planned
