"""Where things lie in Redis.

::

    {tenant:cache:namespace:key}         an entry
    {tenant:cache:namespace:key}:lease   the right to compute it, or why nobody should for a while
    {tenant:cache:namespace:key}:items   the items of a list, the members of a set
    {tenant:cache}:<part>                what belongs to the whole tenant: its invalidations, quotas
                                         and statistics

The tenant comes first, so that no namespace or key can lead into another tenant's entries. The
braces are the hash tag of Redis Cluster: everything about one entry shares its slot and changes
with it in one step, and so does everything about one tenant; entries spread over all slots.
"""

from typing import NamedTuple


class EntryName(NamedTuple):
    """Who an entry belongs to and what it is called."""

    tenant: str
    namespace: str
    key: str


def entry_key(tenant: str, namespace: str, key: str) -> bytes:
    """Return the Redis key of an entry; `namespace` contains no colon, `tenant` and `key` may.

    Different (tenant, namespace, key) never meet: neither tenant nor namespace can hold a bare
    colon, so the first three colons end the first three parts, and the rest is the key. A `}` in
    the key would end the hash tag early and give the lease another slot than its entry.
    """
    if "%" in key or "}" in key:
        key = key.replace("%", "%25").replace("}", "%7D")
    return f"{{{_tenant_part(tenant)}:cache:{namespace}:{key}}}".encode()


def entry_name(redis_key: bytes) -> EntryName | None:
    """Return whose entry lies under a Redis key, or None for a key that is no entry's."""
    if not (redis_key.startswith(b"{") and redis_key.endswith(b"}")):
        return None
    parts = _text(redis_key[1:-1]).split(":", 3)
    if len(parts) != 4 or parts[1] != "cache":  # noqa: PLR2004
        return None
    tenant, _, namespace, key = parts
    return EntryName(_unescaped(tenant), namespace, _unescaped(key))


def lease_key(entry: bytes) -> bytes:
    """Return where the lease on an entry lies."""
    return entry + b":lease"


def items_key(entry: bytes) -> bytes:
    """Return where the items of a list or the members of a set lie."""
    return entry + b":items"


def tenant_key(tenant: str, part: str) -> bytes:
    """Return where `part` of what belongs to the whole tenant lies."""
    return f"{{{_tenant_part(tenant)}:cache}}:{part}".encode()


def tenant_of(redis_key: bytes, part: str) -> str | None:
    """Return whose `part` lies under a Redis key, or None for a key of anything else."""
    end = f":cache}}:{part}".encode()
    if not (redis_key.startswith(b"{") and redis_key.endswith(end)):
        return None
    tenant = _text(redis_key[1 : -len(end)])
    return None if not tenant or ":" in tenant or "}" in tenant else _unescaped(tenant)


def _text(part: bytes) -> str:
    # What is no UTF-8 is another program's, and has no name among ours.
    try:
        return part.decode()
    except UnicodeDecodeError:
        return ""


def _tenant_part(tenant: str) -> str:
    # Names of tenants are letters and digits as a rule; one check leaves those as they are.
    if tenant.isalnum():
        return tenant
    return tenant.replace("%", "%25").replace("}", "%7D").replace(":", "%3A")


def _unescaped(part: str) -> str:
    return part.replace("%3A", ":").replace("%7D", "}").replace("%25", "%")
