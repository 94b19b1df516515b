"""What is probed, and what it needs."""

from dataclasses import dataclass
from enum import StrEnum

SUITE = "suite"
"""The name of the whole, where a target is asked for."""


class Kind(StrEnum):
    """What sort of thing a target is."""

    SERVICE = "service"
    REPLICA = "replica"
    REDIS = "redis"
    POSTGRES = "postgres"
    REPLICATION = "replication"
    DISK = "disk"
    CERTIFICATE = "certificate"
    QUEUE = "queue"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that a report speaks of.

    Attributes:
        name: As it is called in reports: `cache`, `database`, `cache/10.0.0.7:50051`.
        kind: What sort of thing it is.
        critical: Whether the suite is of no use without it.
        needs: The targets it cannot do without: their failure degrades it.
        uses: The targets it uses and can do without; they are shown, and change nothing.
        service: Of a replica, the name of its service; empty for anything else.

    """

    name: str
    kind: Kind
    critical: bool = False
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    service: str = ""


def replica(service: str, address: str) -> Target:
    """Return the target of one replica of a service."""
    return Target(name=f"{service}/{address}", kind=Kind.REPLICA, service=service)
