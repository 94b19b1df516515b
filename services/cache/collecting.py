"""What the use cases of counters, lists and sets share: how one is read, created and changed."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar, cast

from mainstay.errors import CacheError, ConflictError
from services.cache.checks import refuse, wrong_kind
from services.cache.collection import (
    CALLED,
    Change,
    Changed,
    Creation,
    Target,
    Unchanged,
    bare_charge,
)
from services.cache.entry import Entry, Kind, Miss, MissReason
from services.cache.expiries import life
from services.cache.keys import EntryName
from services.cache.limits import key_fault, namespace_fault, tags_faults
from services.cache.ports import (
    Chance,
    Charge,
    Histories,
    KeyLog,
    NewVersion,
    NowMs,
    Policies,
    Reader,
    Statistics,
)
from shared.rpc.call import Tenant

ATTEMPTS = 3
"""How often a change is tried while others replace the entry between judging and changing it."""

T = TypeVar("T")
U = TypeVar("U")


class SizedCharge(Charge, Protocol):
    """Keeps the books of entries whose size changes while they live."""

    async def grow(self, name: EntryName, entry: Entry, by: int) -> None:
        """Book `by` more bytes for an entry that is there; raises as `admit` does."""
        ...

    def shrink(self, name: EntryName, entry: Entry, by: int) -> None:
        """Take `by` bytes off what is booked for an entry that goes on, soon."""
        ...


class Collections:
    """Reads and changes collections for the use cases of each kind."""

    def __init__(
        self,
        *,
        reader: Reader,
        histories: Histories,
        charge: SizedCharge,
        key_log: KeyLog,
        statistics: Statistics,
        policies: Policies,
        now_ms: NowMs,
        new_version: NewVersion,
        chance: Chance,
    ) -> None:
        self._reader = reader
        self._histories = histories
        self._charge = charge
        self._key_log = key_log
        self._statistics = statistics
        self._policies = policies
        self._now_ms = now_ms
        self._new_version = new_version
        self._chance = chance

    async def read(
        self, name: EntryName, kind: Kind, items: Awaitable[T]
    ) -> tuple[Entry, T] | None:
        """Return the entry and its items, or None where there is nothing.

        Both are asked for at once, the entry first: items that are read after an entry that lives
        are not older than it.
        """
        try:
            outcome, found = await asyncio.gather(
                self._reader.read(name), items, return_exceptions=True
            )
            if isinstance(outcome, BaseException):
                raise outcome
        except CacheError:
            self._statistics.miss(name, "", MissReason.STORE_UNAVAILABLE)
            raise
        entry = _living(outcome, kind)
        if entry is None:
            reason = outcome.reason if isinstance(outcome, Miss) else MissReason.NEGATIVE
            self._statistics.miss(name, "", reason)
            return None
        if isinstance(found, BaseException):
            raise found
        self._statistics.hit(name, entry, stale=False)
        self._charge.used(name, entry)
        return entry, found

    def check(
        self,
        name: EntryName,
        faults: dict[str, str | None],
        creation: Creation | None = None,
    ) -> None:
        """Refuse a call that is wrong in any part."""
        wrong = {"namespace": namespace_fault(name.namespace), "key": key_fault(name.key), **faults}
        if creation is not None:
            _, expiry_faults = life(self._policies.current, creation.expiry, 0.0)
            wrong |= {**tags_faults(creation.tags), **expiry_faults}
        refuse(wrong)

    async def change(
        self,
        name: EntryName,
        kind: Kind,
        change: Change,
        *,
        creation: Creation | None = None,
        adds: int = 0,
    ) -> tuple[Target, Changed | Unchanged] | None:
        """Change a collection, or create it; returns None where there is nothing and no creation.

        `adds` is what it will count for beyond now, at most. Raises PreconditionError where
        something of another kind stands, QuotaError and CacheError.
        """
        for _ in range(ATTEMPTS):
            # Asked for with the entry, in one write: an invalidation from here on concerns what is
            # being written.
            stamp, outcome = await _both(self._stamp(name), self._reader.read(name))
            living = _living(outcome, kind)
            if living is not None:
                target = self._on(name, living)
            elif creation is not None:
                target = self._new(name, kind, creation, outcome, stamp)
            else:
                return None
            result = await self._try(target, change, adds)
            if result is not Unchanged.REPLACED:
                return target, result
        raise ConflictError(
            f"{name.namespace}/{name.key} was replaced by others again and again; nothing was "
            "changed: try again",
            reason="REPLACED_MEANWHILE",
        )

    async def _stamp(self, name: EntryName) -> int:
        # Taken at once: a history goes on to change.
        return (await self._histories.current(Tenant(name.tenant))).sequence

    def _on(self, name: EntryName, living: Entry) -> Target:
        entry = living._replace(version=self._new_version(), charged=bare_charge(name, living))
        return Target(name, living, None, entry, None)

    def _new(
        self, name: EntryName, kind: Kind, creation: Creation, outcome: Entry | Miss, stamp: int
    ) -> Target:
        lived, _ = life(self._policies.current, creation.expiry, self._chance())
        now = self._now_ms()
        entry = Entry(
            value=creation.start,
            content_type="",
            version=self._new_version(),
            create_ms=now,
            soft_expiry_ms=None,
            expiry_ms=None if lived.ttl_ms is None else now + lived.ttl_ms,
            stamp=stamp,
            tags=creation.tags,
            ttl_class=lived.ttl_class,
            kind=kind,
        )
        entry = entry._replace(charged=bare_charge(name, entry))
        dead = outcome.dead_version if isinstance(outcome, Miss) else outcome.version
        return Target(name, None, dead, entry, lived.ttl_ms)

    async def _try(self, target: Target, change: Change, adds: int) -> Changed | Unchanged:
        """Book, change, and correct the books; what fails on the way counts until it would end."""
        name, living, entry = target.name, target.living, target.entry
        if living is None:
            booked = entry._replace(charged=entry.charged + adds)
            await self._charge.admit(name, booked)
        elif adds:
            await self._charge.grow(name, living, adds)
        result = await change(target)
        if isinstance(result, Unchanged):
            if living is None:
                self._charge.settle(name, booked)
            elif adds:
                self._charge.shrink(name, living, adds)
            return result
        await self._settle(target, result, adds)
        return result

    async def _settle(self, target: Target, result: Changed, adds: int) -> None:
        name, living = target.name, target.living
        if living is None:
            self._charge.shrink(name, target.entry, target.entry.charged + adds - result.after)
            if result.replaced is not None:
                self._charge.settle(name, result.replaced)
                if result.replaced.near:
                    tenant = Tenant(name.tenant)
                    await self._key_log.append_keys(tenant, name.namespace, (name.key,))
        elif not result.size:
            self._charge.settle(name, living._replace(charged=result.before + adds))
        else:
            self._charge.shrink(name, living, adds - (result.after - result.before))
            self._charge.used(name, living)


async def _both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Return both results, or raise what one failed with when both are over."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    for result in (one, other):
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", (one, other))


def _living(outcome: Entry | Miss, kind: Kind) -> Entry | None:
    # That the source has nothing is known of values; here it is as good as nothing.
    if isinstance(outcome, Miss) or outcome.kind is Kind.NEGATIVE:
        return None
    if outcome.kind is not kind:
        raise wrong_kind(outcome.kind, wanted=CALLED[kind])
    return outcome
