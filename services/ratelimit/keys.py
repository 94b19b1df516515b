"""Where a counter stands in the store."""

from functools import lru_cache
from urllib.parse import quote

from shared.rpc.call import Tenant


def counter_key(*, tenant: Tenant, rule: str, window: int, subject: str) -> str:
    """Return `rl:{tenant}:rule:window:subject`.

    No two counters share a key: the tenant is percent-encoded, rules have no colon in their names,
    windows are digits, and the subject is all that follows. In braces, the tenant is what a Redis
    cluster hashes, so that one script reaches all counters of a tenant.
    """
    return f"rl:{{{_escaped(tenant)}}}:{rule}:{window}:{subject}"


@lru_cache(maxsize=4096)
def _escaped(tenant: str) -> str:
    return quote(tenant, safe="")
