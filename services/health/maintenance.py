"""What is out of service on purpose: who says so, until when, and what is served meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from services.health.target import SUITE, Target


class Mode(StrEnum):
    """How something is out of service."""

    DRAIN = "drain"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """One target, or the whole, out of service on purpose; set by an operator, ends by itself.

    Attributes:
        target: The name of a target, a replica, or `suite`.
        mode: Drain: no new traffic. Maintenance: no traffic at all.
        start_time: When it was set.
        end_time: When it ends by itself.
        reason: Why, in up to 200 characters.

    """

    target: str
    mode: Mode
    start_time: datetime
    end_time: datetime
    reason: str


Maintenances: TypeAlias = Mapping[str, Maintenance]
"""Those that were set, by the name of their target; some may have ended."""


def in_force(maintenances: Maintenances, target: Target, now: datetime) -> Maintenance | None:
    """Return the maintenance of a target as of now: its own, its service's, or the whole's."""
    for name in (target.name, target.service, SUITE):
        found = maintenances.get(name)
        if found is not None and found.start_time <= now < found.end_time:
            return found
    return None


def of_the_whole(maintenances: Maintenances, now: datetime) -> Maintenance | None:
    """Return the maintenance of the whole as of now."""
    found = maintenances.get(SUITE)
    return found if found is not None and found.start_time <= now < found.end_time else None
