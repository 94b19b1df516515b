"""What is granted somewhere else, as far as this version knows it."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from shared.identity.scopes import expand
from shared.rpc.call import ALL_TENANTS, ANONYMOUS, Tenant

SUITE = "mainstay"
"""The services of the suite, to each other."""
MAX_NAME = 128

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def known_scopes(grants: Iterable[str]) -> frozenset[str]:
    """Return the scopes of grants without those that mean nothing here.

    They may be another's, as in a token for several services, or of a later version.
    """
    return frozenset().union(*map(_known, grants))


@lru_cache(maxsize=1_000)
def _known(grant: str) -> frozenset[str]:
    try:
        return expand((grant,))
    except ValueError:
        return frozenset()


def tenant_named(text: Any) -> Tenant | None:
    """Return the tenant that a grant names, or `*`; None for what is none."""
    if isinstance(text, str) and (text == ALL_TENANTS or _TENANT.fullmatch(text)):
        return Tenant(text)
    return None


def is_name(text: Any) -> bool:
    """Return whether a principal may be called so: in logs it is told from the suite and nobody."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_NAME
        and text.isprintable()
        and text not in {ANONYMOUS, SUITE}
    )
