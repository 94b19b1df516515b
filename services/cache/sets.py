"""The use case of sets."""

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mainstay.errors import QuotaError
from services.cache.checks import batch_too_large, refuse
from services.cache.collecting import Collections
from services.cache.collection import Changed, Creation, Target, Unchanged, too_large
from services.cache.entry import Entry, Kind
from services.cache.keys import EntryName
from services.cache.limits import MAX_ITEMS, MAX_LENGTH, items_fault, range_fault
from services.cache.policy import Expiry
from services.cache.quota import SET_MEMBER_OVERHEAD
from shared.rpc.call import Tenant

# What one member costs on the wire beside its bytes, at most.
_MEMBER_ON_WIRE = 5
_TOKEN = struct.Struct("<Q8s")
_BEGINNING = 0


class Added(NamedTuple):
    """A set after members were added."""

    added: int
    size: int
    created: bool


class Removed(NamedTuple):
    """A set after members were removed."""

    removed: int
    size: int


class Page(NamedTuple):
    """Some members, the token of the next page or empty, and the size of the whole set."""

    members: Sequence[bytes]
    next_token: str
    size: int


class Scanned(NamedTuple):
    """Some members, where to go on (0 at the end), and the size of the whole set."""

    members: Sequence[bytes]
    cursor: int
    size: int


class SetStore(Protocol):
    """Reads and changes sets, each in one step. All methods raise CacheError."""

    async def add(self, target: Target, members: Sequence[bytes]) -> Changed | Unchanged:
        """Add members, all or none."""
        ...

    async def remove(self, target: Target, members: Sequence[bytes]) -> Changed | Unchanged:
        """Remove members; a set without members is gone."""
        ...

    async def scan(self, name: EntryName, cursor: int, count: int) -> Scanned:
        """Return about `count` members of what lies there, whether or not it lives."""
        ...

    async def contains(self, name: EntryName, members: Sequence[bytes]) -> Sequence[bool]:
        """Tell for each whether it is a member of what lies there, whether or not it lives."""
        ...


class Sets:
    """Adds to, removes from and reads sets for tenants; the bounds are those of `Lists`."""

    def __init__(
        self,
        collections: Collections,
        store: SetStore,
        *,
        max_push_bytes: int,
        max_answer_bytes: int,
        max_bytes: int,
    ) -> None:
        self._collections = collections
        self._store = store
        self._max_push_bytes = max_push_bytes
        self._max_answer_bytes = max_answer_bytes
        self._max_bytes = max_bytes

    async def add(
        self,
        tenant: Tenant,
        namespace: str,
        key: str,
        members: Sequence[bytes],
        *,
        expiry: Expiry = None,
        tags: tuple[str, ...] = (),
    ) -> Added:
        name, creation = EntryName(tenant, namespace, key), Creation(expiry=expiry, tags=tags)
        faults = {"members": items_fault(members, self._max_push_bytes)}
        self._collections.check(name, faults, creation)
        given = [*dict.fromkeys(members)]

        async def change(target: Target) -> Changed | Unchanged:
            return await self._store.add(target, given)

        adds = sum(map(len, given)) + len(given) * SET_MEMBER_OVERHEAD
        found = await self._collections.change(name, Kind.SET, change, creation=creation, adds=adds)
        assert found is not None, "what is not there is created"
        target, result = found
        if isinstance(result, Unchanged):
            raise _full() if result is Unchanged.TOO_MANY else too_large(Kind.SET, self._max_bytes)
        return Added(result.moved, result.size, target.living is None)

    async def remove(
        self, tenant: Tenant, namespace: str, key: str, members: Sequence[bytes]
    ) -> Removed:
        name = self._checked(tenant, namespace, key, members)
        given = [*dict.fromkeys(members)]

        async def change(target: Target) -> Changed | Unchanged:
            return await self._store.remove(target, given)

        found = await self._collections.change(name, Kind.SET, change)
        if found is None:
            return Removed(0, 0)
        _, result = found
        assert isinstance(result, Changed), "a removal has no bounds to break"
        return Removed(result.moved, result.size)

    async def contains(
        self, tenant: Tenant, namespace: str, key: str, members: Sequence[bytes]
    ) -> Sequence[bool]:
        """Tell for each whether it is a member."""
        name = self._checked(tenant, namespace, key, members)
        found = await self._collections.read(name, Kind.SET, self._store.contains(name, members))
        return [False] * len(members) if found is None else found[1]

    async def page(
        self, tenant: Tenant, namespace: str, key: str, *, size: int, token: str
    ) -> Page:
        """Return about `size` members; `token` is the one of the page before, or empty."""
        name = EntryName(tenant, namespace, key)
        cursor, birth = _decoded(token)
        unknown = "is not a token of this method; give the one of the page before, or none"
        faults = {
            "page_size": range_fault(size, 1, MAX_ITEMS),
            "page_token": unknown if cursor is None else None,
        }
        self._collections.check(name, faults)
        scanning = self._store.scan(name, cursor or _BEGINNING, size)
        found = await self._collections.read(name, Kind.SET, scanning)
        if found is None:
            return Page((), "", 0)
        entry, scanned = found
        if birth and birth != _birth(name, entry):
            refuse({"page_token": "belongs to another set, or one that is gone; begin anew"})
        taken = sum(map(len, scanned.members)) + len(scanned.members) * _MEMBER_ON_WIRE
        if taken > self._max_answer_bytes:
            raise batch_too_large(self._max_answer_bytes, "page_size")
        following = _encoded(scanned.cursor, _birth(name, entry)) if scanned.cursor else ""
        return Page(scanned.members, following, scanned.size)

    def _checked(
        self, tenant: Tenant, namespace: str, key: str, members: Sequence[bytes]
    ) -> EntryName:
        name = EntryName(tenant, namespace, key)
        # What is asked about is not stored: only its number is bounded, and the message itself.
        self._collections.check(name, {"members": items_fault(members, self._max_answer_bytes)})
        return name


def _full() -> QuotaError:
    quota = "members of a set"
    what = (
        f"a set holds up to {MAX_LENGTH} and would have more; nothing was added: remove some, or "
        "use several keys"
    )
    return QuotaError(f"the quota {quota} is used up: {what}", violations={quota: what})


def _birth(name: EntryName, entry: Entry) -> bytes:
    """Return what tells this set from others, and from itself after it was created anew."""
    spelled = "\0".join(name).encode() + struct.pack("<Q", entry.create_ms)
    return hashlib.blake2b(spelled, digest_size=8).digest()


def _encoded(cursor: int, birth: bytes) -> str:
    return base64.urlsafe_b64encode(_TOKEN.pack(cursor, birth)).decode().rstrip("=")


def _decoded(token: str) -> tuple[int | None, bytes]:
    """Return the cursor and the set of a token; no set for an empty one, no cursor for garbage."""
    if not token:
        return _BEGINNING, b""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None, b""
    if len(raw) != _TOKEN.size:
        return None, b""
    cursor, birth = _TOKEN.unpack(raw)
    return cursor, birth
