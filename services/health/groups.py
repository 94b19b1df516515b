"""Names for sets of targets: `edge=cache+ratelimit,background=jobs+database`."""

import re
from collections.abc import Collection, Mapping

from services.health.target import SUITE

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def parse_groups(text: str) -> dict[str, frozenset[str]]:
    """Return the groups that a text names; raises ValueError where it cannot be read."""
    groups: dict[str, frozenset[str]] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, separator, members = part.partition("=")
        name = name.strip()
        if not separator:
            raise ValueError(f"{part!r} names no targets; write name=target+target")
        if name in groups:
            raise ValueError(f"{name!r} is there twice")
        groups[name] = frozenset(filter(None, (each.strip() for each in members.split("+"))))
    return groups


def check_groups(groups: Mapping[str, Collection[str]], *, targets: Collection[str]) -> None:
    """Raise ValueError when a group is empty, has an unknown member, or takes another's name."""
    known = ", ".join(sorted(targets))
    for name, members in groups.items():
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be a group's name; use a-z, 0-9, - and _, a letter first"
            )
        if name == SUITE or name in targets:
            raise ValueError(f"{name!r} is a target's name; call the group something else")
        if not members:
            raise ValueError(f"group {name!r} has no targets; known are {known}")
        if unknown := set(members) - set(targets):
            missing = ", ".join(sorted(unknown))
            raise ValueError(f"group {name!r} has no such target: {missing}; known are {known}")
