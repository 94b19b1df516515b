"""Where an entry lies in Redis: `{tenant:cache:namespace:key}`.

The tenant comes first, so that no namespace or key can lead into another tenant's entries. The
braces are the hash tag of Redis Cluster: everything about one entry hashes by tenant, namespace
and key together, so entries spread over all slots, and whatever later belongs to an entry (such
as `{...}:lease`) shares its slot and can change with it in one step.
"""


def entry_key(tenant: str, namespace: str, key: str) -> bytes:
    """Return the Redis key of an entry; `namespace` contains no colon, `tenant` and `key` may.

    Different (tenant, namespace, key) never meet: neither tenant nor namespace can hold a bare
    colon, so the first three colons end the first three parts, and the rest is the key. A `}` in
    the key would end the hash tag early and give the lease another slot than its entry.
    """
    if "%" in key or "}" in key:
        key = key.replace("%", "%25").replace("}", "%7D")
    return f"{{{_tenant_part(tenant)}:cache:{namespace}:{key}}}".encode()


def _tenant_part(tenant: str) -> str:
    # Names of tenants are letters and digits as a rule; one check leaves those as they are.
    if tenant.isalnum():
        return tenant
    return tenant.replace("%", "%25").replace("}", "%7D").replace(":", "%3A")
