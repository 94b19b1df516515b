"""Where things lie in Redis.

::

    rl:{tenant}:rule:position:subject   what a subject consumed of a limit, or the leases it holds
    rl:{tenant}:~<part>                 what else belongs to the tenant

In braces, the tenant is what a Redis cluster hashes, so that one script reaches all counters of a
tenant. Names of rules hold neither a colon nor a tilde.
"""

from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from shared.rpc.call import Tenant


def counter_key(*, tenant: Tenant, rule: str, position: int, subject: str) -> str:
    """Return where a subject's counter of the limit at a position of a rule lies.

    No two counters share a key: the tenant is percent-encoded, rules have no colon in their names,
    positions are digits, and the subject is all that follows.
    """
    return counter_prefix(tenant, rule, position) + subject


@lru_cache(maxsize=4096)
def counter_prefix(tenant: Tenant, rule: str, position: int) -> str:
    """Return what the keys of all subjects begin with."""
    return f"rl:{{{_escaped(tenant)}}}:{rule}:{position}:"


def tenant_key(tenant: Tenant, part: str) -> str:
    """Return where `part` of what belongs to the whole tenant lies."""
    return f"rl:{{{_escaped(tenant)}}}:~{part}"


def once_key(tenant: Tenant, act: str, name: str) -> str:
    """Return where it is marked that an act was carried out under a name, of whatever length."""
    return tenant_key(tenant, f"once:{sha256(f'{act}:{name}'.encode()).hexdigest()[:32]}")


@lru_cache(maxsize=4096)
def _escaped(tenant: str) -> str:
    return quote(tenant, safe="")
