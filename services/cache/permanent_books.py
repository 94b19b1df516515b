"""What the books of permanent entries call things: one hash of all, and an index for each class."""

from services.cache.keys import EntryName, tenant_key
from services.cache.policy import CachePolicy

_SEPARATOR = b"\0"
_RECORD_BYTES = 13
_IDENTITY_BYTES = 9


def class_key(tenant: str, ttl_class: str) -> bytes:
    """Return where the names of a class lie, by when they were used last."""
    return tenant_key(tenant, f"lru:{ttl_class}")


def permanent_classes(policy: CachePolicy) -> list[str]:
    """Return the classes whose entries have no end."""
    return [name for name, ttl_class in policy.classes.items() if ttl_class.ttl_ms is None]


def member(name: EntryName) -> bytes:
    """Return what an entry is called within its tenant."""
    return name.namespace.encode() + _SEPARATOR + name.key.encode()


def name_of(tenant: str, called: bytes) -> EntryName:
    """Return whose name `member` made."""
    namespace, _, key = called.partition(_SEPARATOR)
    return EntryName(tenant, namespace.decode(), key.decode())


def identities(held: bytes) -> list[bytes]:
    """Return who is booked in the text that admit_permanent.lua keeps for a name."""
    _, _, records = held.partition(_SEPARATOR)
    starts = range(0, len(records), _RECORD_BYTES)
    return [records[start : start + _IDENTITY_BYTES] for start in starts]
