"""What the use cases need from the outside, as protocols that adapters fulfil."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mainstay.errors import CacheError
from services.cache.entry import Entry, MissReason, Outcome
from services.cache.frame import Header
from services.cache.history import History
from services.cache.keys import EntryName
from services.cache.lease import Grant, Keeping
from services.cache.policy import CachePolicy
from shared.rpc.call import Tenant

NowMs = Callable[[], int]
"""The time by the store's clock, in milliseconds since 1970."""

NewVersion = Callable[[], int]
"""A number of 64 bits that differs from the last one of the same entry."""

Chance = Callable[[], float]
"""A random number from 0 (included) to 1 (excluded)."""


class Policies(Protocol):
    """The policy in force, which changes when operators edit the file."""

    @property
    def current(self) -> CachePolicy:
        """Return the last policy that was fit to use."""
        ...

    @property
    def problem(self) -> str:
        """Return what is wrong with the file now; empty when nothing is."""
        ...


class Histories(Protocol):
    """What was invalidated, for each tenant."""

    async def current(self, tenant: Tenant) -> History:
        """Return a history that holds every invalidation acknowledged before this call.

        It always has a beginning: the first call for a tenant creates it in the store. Raises
        CacheError while that cannot be known.
        """
        ...

    def stamp_soon(self, tenant: Tenant) -> Coroutine[None, None, int]:
        """Ask for the last sequence as of now, along with what the caller asks next of the store.

        The answer is awaited later; what is not awaited has to be closed.
        """
        ...


class Reader(Protocol):
    """Reads entries and judges them."""

    async def read(self, name: EntryName) -> Outcome:
        """Return the entry, of whatever kind but a tombstone, or why a read finds none.

        No entry is returned that an invalidation acknowledged before this call concerns. Raises
        CacheError while the store does not answer.
        """
        ...

    async def read_many(self, names: Sequence[EntryName]) -> Sequence[Outcome]:
        """Return one outcome for each name, all of one tenant, in their order."""
        ...


class Existence(Enum):
    """Whether an entry has to be there for a write to take place."""

    ABSENT = "absent"
    PRESENT = "present"


Condition = Existence | int | None
"""Of a write: existence, or the version the entry has to have, or none."""


class PutState(Enum):
    """What became of a write."""

    STORED = "stored"
    LEASE_LOST = "lease_lost"
    CONDITION_UNMET = "condition_unmet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A write's outcome and the header of what stood there before, if it was a frame."""

    state: PutState
    replaced: Header | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Whether a removal found something, and its header if it was a frame."""

    existed: bool
    header: Header | None


class EntryStore(Protocol):
    """Changes single entries, each in one step. All methods raise CacheError when it is gone."""

    async def put(
        self,
        name: EntryName,
        entry: Entry,
        ttl_ms: int | None,
        *,
        condition: Condition = None,
        dead_version: int | None = None,
        lease_token: bytes | None = None,
    ) -> Put:
        """Write an entry over what stands there; it ends `ttl_ms` from now, or never for None.

        With a `condition` only if that holds, an entry with `dead_version` counting as none. With
        a `lease_token` only if that lease is still held. Ends any lease on it and wakes who waits.
        """
        ...

    async def drop(
        self, name: EntryName, reason: MissReason, *, version: int | None = None
    ) -> Dropped:
        """Remove an entry of any kind and void a lease on it; leaves a note why, for a while.

        With `version` only if it has that one.
        """
        ...

    async def drop_many(
        self, names: Sequence[EntryName], reason: MissReason
    ) -> Sequence[Dropped | CacheError]:
        """Remove entries as `drop` does, each by itself: returns the failures of single ones."""
        ...

    async def touch(self, name: EntryName, entry: Entry, ttl_ms: int | None) -> Header | None:
        """Give what has `entry`'s version and create time the soft expiry and expiry of `entry`.

        Returns its header as it was before, or None if it has gone.
        """
        ...


class Leases(Protocol):
    """Grants and ends leases, each in one step. All methods raise CacheError without a store."""

    async def ask(
        self, name: EntryName, token: bytes, lease_ms: int, *, judged: Outcome | None, waits: bool
    ) -> Grant:
        """Grant the lease under `token` if nobody holds it and the entry is still as it was judged.

        With None for `judged` whatever is there will do. With `waits`, whatever ends the lease of
        another wakes this entry's waiters. A cancelled call leaves no lease behind.
        """
        ...

    async def extend(self, name: EntryName, token: bytes, lease_ms: int) -> bool:
        """Let a lease last so long from now; False if it is not held any more."""
        ...

    async def abandon(
        self, name: EntryName, token: bytes, *, error: str = "", throttle_ms: int = 0
    ) -> bool:
        """Give a lease back, or with an `error` keep everybody from computing for a while.

        Returns False if it was not held any more. Wakes who waits.
        """
        ...

    async def holds(self, name: EntryName, token: bytes) -> bool:
        """Return whether a lease is still held."""
        ...

    async def keep(
        self, name: EntryName, token: bytes, entry: Entry, ttl_ms: int | None
    ) -> Keeping:
        """Give what has `entry`'s version the times, stamp and computation time of `entry`.

        It ends `ttl_ms` from now, or never for None. Ends the lease and wakes who waits.
        """
        ...


class Charge(Protocol):
    """Keeps the books of what tenants hold."""

    async def admit(self, name: EntryName, entry: Entry) -> None:
        """Book an entry that is about to be written.

        Raises QuotaError, naming the quota, when the tenant may not hold so much. In a permanent
        class it makes room instead: the least recently used entries of the class go.
        """
        ...

    def settle(self, name: EntryName, gone: Header | Entry) -> None:
        """Take an entry off the books, soon: it was replaced, removed, or not written after all."""
        ...

    def used(self, name: EntryName, entry: Entry) -> None:
        """Note that an entry of a permanent class was read."""
        ...


class KeyLog(Protocol):
    """Tells those who keep copies of the end of single entries."""

    async def append_keys(self, tenant: Tenant, namespace: str, keys: Sequence[str]) -> int:
        """Record that entries were removed or replaced; returns the sequence."""
        ...


class ChangeLog(KeyLog, Protocol):
    """Records what is invalidated, for all who read and all who keep copies."""

    async def append(
        self,
        tenant: Tenant,
        *,
        tags: Sequence[str] = (),
        prefixes: Sequence[tuple[str, str]] = (),
        namespaces: Sequence[str] = (),
        by_event: bool = False,
    ) -> int:
        """Make everything dead that has one of the tags, prefixes (in a namespace) or namespaces.

        Once it has returned, no read that begins finds what was written before. Returns the
        sequence. Raises CacheError; then it may have been done or not.
        """
        ...


class Statistics(Protocol):
    """Counts what happens. Never waits and never fails."""

    def hit(self, name: EntryName, entry: Entry, *, stale: bool) -> None:
        """Count a read that gave back a value or a negative."""
        ...

    def miss(self, name: EntryName, ttl_class: str, reason: MissReason) -> None:
        """Count a read that found nothing; `ttl_class` is empty where none is known."""
        ...

    def filled(self, name: EntryName, ttl_class: str) -> None:
        """Count a computation whose result was stored."""
        ...

    def refused(self, name: EntryName, ttl_class: str) -> None:
        """Count a computation whose result was not."""
        ...

    def waited(self, name: EntryName, entry: Entry) -> None:
        """Count a caller that got another's computation after waiting for it."""
        ...
