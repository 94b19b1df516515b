"""The scopes: what a caller may be allowed to do.

A scope is `area:act`. Grants may hold wildcards, `cache:*` for all of an area and `*` for all; none
includes another, so who administers the cache and reads it holds both.
"""

from collections.abc import Iterable

OPEN = "open"
"""Declared by methods that anybody may call: those by which balancers ask how a service is."""

OPERATIONS_READ = "operations:read"
HEALTH_READ = "health:read"

SCOPES = frozenset(
    {
        "cache:read",
        "cache:write",
        "cache:admin",
        "ratelimit:check",
        "ratelimit:read",
        "ratelimit:admin",
        "jobs:send",
        "jobs:read",
        "jobs:work",
        "jobs:admin",
        HEALTH_READ,
        "health:admin",
        OPERATIONS_READ,
    }
)
ADMINISTRATION = frozenset(scope for scope in SCOPES if scope.endswith(":admin"))
"""Scopes of methods whose every call is kept in the audit log."""

_AREAS = frozenset(scope.partition(":")[0] for scope in SCOPES)


def expand(grants: Iterable[str]) -> frozenset[str]:
    """Return the scopes that are granted; raises ValueError for a grant that means nothing."""
    scopes: set[str] = set()
    for grant in grants:
        area, _, act = grant.partition(":")
        if grant == "*":
            scopes |= SCOPES
        elif act == "*" and area in _AREAS:
            scopes.update(scope for scope in SCOPES if scope.startswith(f"{area}:"))
        elif grant in SCOPES:
            scopes.add(grant)
        else:
            raise ValueError(
                f"{grant!r} is no scope; there are {', '.join(sorted(SCOPES))}, and *, cache:* and "
                "so on for all of them"
            )
    return frozenset(scopes)
