"""What targets are called, as far as settings decide it."""

import re
from collections.abc import Mapping
from typing import Any

DISK = "disk"
CERTIFICATE = "certificate"

_ALWAYS = frozenset({"cache", "database", "jobs", "queue", "ratelimit", "redis"})
_NAMED = re.compile(r"([a-z0-9][a-z0-9-]{0,62})=(.+)")


def parse_named(text: str, kind: str) -> dict[str, str]:
    """Return what a text lists, by the names of the targets; raises ValueError.

    One thing needs no name: `/` is {"disk": "/"}. Of several each has one, since names are public
    and places are not: `data=/srv,logs=/var/log` is {"disk-data": "/srv", "disk-logs": "/var/log"}.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found: dict[str, str] = {}
    for part in parts:
        named = _NAMED.fullmatch(part)
        if named is None and len(parts) > 1:
            raise ValueError(
                f"{part!r} has no name, and there are several; write name=value, the name of "
                "a-z, 0-9 and -"
            )
        name = f"{kind}-{named[1]}" if named else kind
        if name in found:
            raise ValueError(f"{named[1] if named else part!r} is there twice")
        found[name] = named[2] if named else part
    return found


def target_names(settings: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the targets that there are with these settings, replicas left out."""
    names = set(_ALWAYS)
    if settings.get("health_min_workers"):
        names.add("workers")
    if settings.get("health_max_replication_lag") is not None:
        names.add("replication")
    names.update(parse_named(settings.get("health_disk_paths", ""), DISK))
    names.update(parse_named(settings.get("health_certificates", ""), CERTIFICATE))
    return frozenset(names)
