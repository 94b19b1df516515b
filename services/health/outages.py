"""Incidents as people count them: one outage, and whom it hit. Pure.

A database that fails degrades everything that needs it, and the whole. Each has its incident, for
its own history; to whoever reads what has happened lately they are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.health.history import Incident

SLACK = timedelta(seconds=30)
"""How far the times of a cause and of what it hit may be apart: each is damped by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """An incident, and the targets whose incidents at the same time were down to it."""

    incident: Incident
    hit: tuple[str, ...] = ()


def outages(incidents: Sequence[Incident]) -> Sequence[Outage]:
    """Return incidents in their order, those of victims folded into their causes'.

    One whose cause is not among them stands for itself.
    """
    hit: dict[str, list[str]] = {each.incident_id: [] for each in incidents}
    victims = set()
    for each in incidents:
        causes = [cause for cause in incidents if _caused(cause, each)]
        for cause in causes:
            hit[cause.incident_id].append(each.target)
        if causes:
            victims.add(each.incident_id)
    return [
        Outage(incident=each, hit=tuple(sorted(set(hit[each.incident_id]))))
        for each in incidents
        if each.incident_id not in victims
    ]


def _caused(cause: Incident, victim: Incident) -> bool:
    if victim.target in victim.because or cause.target not in victim.because:
        return False
    ended = cause.end_time
    began_after = victim.start_time >= cause.start_time - SLACK
    return began_after and (ended is None or victim.start_time <= ended + SLACK)
