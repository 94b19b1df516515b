"""The use case of plain entries: checks what is asked, then reads, writes, removes and touches."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

from mainstay.errors import CacheError, ConflictError, MainstayError
from services.cache.checks import (
    MAX_FAULTS,
    batch_too_large,
    check_name,
    check_names,
    refuse,
    wrong_kind,
)
from services.cache.entry import UNREADABLE, Entry, Kind, Miss, MissReason, Outcome
from services.cache.expiries import life, life_again
from services.cache.invalidation import Invalidation
from services.cache.keys import EntryName, entry_key
from services.cache.lifetimes import Life
from services.cache.limits import (
    batch_fault,
    content_type_fault,
    key_fault,
    namespace_fault,
    tags_faults,
    value_fault,
)
from services.cache.policy import Expiry
from services.cache.ports import (
    Chance,
    Charge,
    Condition,
    EntryStore,
    Histories,
    KeyLog,
    NewVersion,
    NowMs,
    Policies,
    PutState,
    Reader,
    Statistics,
)
from services.cache.quota import charged_bytes
from services.cache.recollection import Recollection
from shared.rpc.call import Tenant

# Keys of a batch that are read first. How many are read next depends on how large those were: a
# batch whose values add up to too much is refused before a gigabyte has been fetched.
FIRST_PART = 25
# And the most that are read at once, however small the first ones were: the sizes of those to come
# are not known, and while their values are on the way nobody else's answers are.
LARGEST_PART = 75
# What one result of a batch costs on the wire beside key, value and content type, at most.
RESULT_OVERHEAD_BYTES = 128
# Entries of a batch that are written at the same time.
WRITTEN_TOGETHER = 100
# Times that a touch looks again, because a push has changed the list between look and touch.
MAX_TOUCHES = 3

T = TypeVar("T")


class Item(NamedTuple):
    """What to write under one key."""

    key: str
    value: bytes
    content_type: str = ""
    expiry: Expiry = None
    tags: tuple[str, ...] = ()
    condition: Condition = None


class Cache:
    """Reads and writes entries for tenants. `max_batch_bytes` bounds the answer to one batch."""

    def __init__(
        self,
        *,
        reader: Reader,
        store: EntryStore,
        histories: Histories,
        invalidation: Invalidation,
        key_log: KeyLog,
        charge: Charge,
        statistics: Statistics,
        policies: Policies,
        recollection: Recollection,
        now_ms: NowMs,
        new_version: NewVersion,
        chance: Chance,
        max_value_bytes: int,
        max_batch_bytes: int,
    ) -> None:
        self._reader = reader
        self._store = store
        self._histories = histories
        self._invalidation = invalidation
        self._key_log = key_log
        self._charge = charge
        self._statistics = statistics
        self._policies = policies
        self._recollection = recollection
        self._now_ms = now_ms
        self._new_version = new_version
        self._chance = chance
        self._max_value_bytes = max_value_bytes
        self._max_batch_bytes = max_batch_bytes

    async def get(self, tenant: Tenant, namespace: str, key: str) -> Outcome:
        check_name(namespace, key)
        name = EntryName(tenant, namespace, key)
        try:
            outcome = await self._reader.read(name)
        except CacheError:
            self._statistics.miss(name, "", MissReason.STORE_UNAVAILABLE)
            raise
        if isinstance(outcome, Entry) and outcome.kind in _BESIDE:
            raise wrong_kind(outcome.kind, wanted="a value")
        return self._counted(name, outcome)

    async def get_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> Sequence[Outcome]:
        check_names(namespace, keys)
        names = [EntryName(tenant, namespace, key) for key in keys]
        outcomes: list[Outcome] = []
        answer_bytes, start, count = 0, 0, FIRST_PART
        while start < len(names):
            part = names[start : start + count]
            found = await self._read_part(part)
            answer_bytes += sum(map(_answer_bytes, part, found))
            if answer_bytes > self._max_batch_bytes:
                raise batch_too_large(self._max_batch_bytes)
            outcomes += found
            start += len(part)
            left = self._max_batch_bytes - answer_bytes
            expected = left * start // max(1, answer_bytes)
            count = min(max(FIRST_PART, expected), LARGEST_PART)
        return [*map(self._counted, names, map(_readable, outcomes))]

    async def _read_part(self, names: Sequence[EntryName]) -> Sequence[Outcome]:
        try:
            return await self._reader.read_many(names)
        except CacheError:
            for name in names:
                self._statistics.miss(name, "", MissReason.STORE_UNAVAILABLE)
            raise

    async def set(self, tenant: Tenant, namespace: str, item: Item) -> Entry:
        policy = self._policies.current
        lived, expiry_faults = life(policy, item.expiry, self._chance())
        faults = {"namespace": namespace_fault(namespace), **self._item_faults(item)}
        refuse({**faults, **expiry_faults})
        return await self._write(EntryName(tenant, namespace, item.key), item, lived)

    async def set_many(
        self, tenant: Tenant, namespace: str, items: Sequence[Item]
    ) -> Sequence[Entry | MainstayError]:
        """Write each by itself; returns what was written, or why it was not, in their order."""
        lives = self._check_items(namespace, items)
        results: list[Entry | BaseException] = []
        # In parts, so that neither Redis nor this process is held up by a thousand at once.
        for start in range(0, len(items), WRITTEN_TOGETHER):
            part = slice(start, start + WRITTEN_TOGETHER)
            writes = (
                self._write(EntryName(tenant, namespace, item.key), item, lived)
                for item, lived in zip(items[part], lives[part], strict=True)
            )
            results += await asyncio.gather(*writes, return_exceptions=True)
        return _each(results)

    async def delete(self, tenant: Tenant, namespace: str, key: str) -> bool:
        check_name(namespace, key)
        _, (existed,) = await self._invalidation.invalidate_keys(tenant, namespace, (key,))
        if isinstance(existed, CacheError):
            raise existed
        return existed

    async def delete_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> Sequence[bool | MainstayError]:
        """Remove each by itself; returns whether it was there, or why it was not removed."""
        check_names(namespace, keys)
        _, existed = await self._invalidation.invalidate_keys(tenant, namespace, keys)
        return _each(existed)

    async def touch(self, tenant: Tenant, namespace: str, key: str, expiry: Expiry) -> Entry | None:
        """Return the entry with its new times, or None if there is none."""
        check_name(namespace, key)
        refuse(life(self._policies.current, expiry, 0.0)[1])
        return await self._touch(EntryName(tenant, namespace, key), expiry)

    async def touch_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str], expiry: Expiry
    ) -> Sequence[Entry | MainstayError | None]:
        check_names(namespace, keys)
        refuse(life(self._policies.current, expiry, 0.0)[1])
        touches = (self._touch(EntryName(tenant, namespace, key), expiry) for key in keys)
        return _each(await asyncio.gather(*touches, return_exceptions=True))

    def _item_faults(self, item: Item) -> dict[str, str | None]:
        return {
            "key": key_fault(item.key),
            "value": value_fault(item.value, self._max_value_bytes),
            "content_type": content_type_fault(item.content_type),
            **tags_faults(item.tags),
        }

    def _check_items(self, namespace: str, items: Sequence[Item]) -> list[Life]:
        """Return how long each will live; refuses a batch of which any part is wrong."""
        too_many = batch_fault(len(items))
        refuse({"namespace": namespace_fault(namespace), "items": too_many})
        lives, faults, keys = [], dict[str, str | None](), set[str]()
        for number, item in enumerate(items):
            lived, expiry_faults = life(self._policies.current, item.expiry, self._chance())
            lives.append(lived)
            wrong = self._item_faults(item) | expiry_faults
            if item.key in keys:
                wrong["key"] = "is written twice in one batch; keep one"
            keys.add(item.key)
            if len(faults) < MAX_FAULTS:
                faults |= {f"items[{number}].{part}": what for part, what in wrong.items() if what}
        refuse(faults)
        return lives

    async def _write(self, name: EntryName, item: Item, lived: Life) -> Entry:
        stamp, dead_version = None, None
        if item.condition is not None:
            # In this order: what is invalidated after the look kills what is written upon it too.
            stamp = (await self._histories.current(Tenant(name.tenant))).sequence
            dead_version = await self._dead_version(name)
        now = self._now_ms()
        entry = Entry(
            value=item.value,
            content_type=item.content_type,
            version=self._new_version(),
            create_ms=now,
            soft_expiry_ms=_after(now, lived.soft_ttl_ms),
            expiry_ms=_after(now, lived.ttl_ms),
            stamp=stamp or 0,
            tags=item.tags,
            ttl_class=lived.ttl_class,
            charged=charged_bytes(name, len(item.value), item.tags, permanent=lived.ttl_ms is None),
            near=lived.near,
        )
        if stamp is None:
            entry = await self._stamped_and_admitted(name, entry)
        else:
            await self._charge.admit(name, entry)
        put = await self._store.put(
            name, entry, lived.ttl_ms, condition=item.condition, dead_version=dead_version
        )
        if put.state is PutState.CONDITION_UNMET:
            self._charge.settle(name, entry)
            raise _unmet(name)
        self._recollection.note(entry_key(*name), entry.expiry_ms)
        if put.replaced is not None:
            self._charge.settle(name, put.replaced)
            if put.replaced.near:
                await self._key_log.append_keys(Tenant(name.tenant), name.namespace, (name.key,))
        return entry

    async def _stamped_and_admitted(self, name: EntryName, entry: Entry) -> Entry:
        """Book an entry and return it with its stamp: what is invalidated from then on kills it."""
        stamp = self._histories.stamp_soon(Tenant(name.tenant))
        try:
            await self._charge.admit(name, entry)  # leaves in one write with the question above
        except BaseException:
            stamp.close()
            raise
        return entry._replace(stamp=await stamp)

    async def _dead_version(self, name: EntryName) -> int | None:
        outcome = await self._reader.read(name)
        return outcome.dead_version if isinstance(outcome, Miss) else None

    async def _touch(self, name: EntryName, expiry: Expiry) -> Entry | None:
        for _ in range(MAX_TOUCHES):
            entry = await self._reader.read(name)
            if isinstance(entry, Miss):
                return None
            touched = await self._touch_version(name, entry, expiry)
            if touched is not None:
                return touched
        raise ConflictError(
            f"{name.namespace}/{name.key} changes faster than it can be touched; try again",
            reason="REPLACED_MEANWHILE",
        )

    async def _touch_version(self, name: EntryName, entry: Entry, expiry: Expiry) -> Entry | None:
        """Return the entry with its new times, or None if it was replaced or removed meanwhile."""
        lived = life_again(self._policies.current, entry, expiry, self._chance())
        if lived.ttl_ms is None:
            self._charge.used(name, entry)
            return entry
        now = self._now_ms()
        touched = entry._replace(
            soft_expiry_ms=_after(now, lived.soft_ttl_ms), expiry_ms=now + lived.ttl_ms
        )
        await self._charge.admit(name, touched)
        before = await self._store.touch(name, touched, lived.ttl_ms)
        # What it was at the moment of the touch: others may have touched it since it was read.
        self._charge.settle(name, touched if before is None else before)
        if before is None:
            return None
        self._recollection.note(entry_key(*name), touched.expiry_ms)
        return touched

    def _counted(self, name: EntryName, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Miss):
            self._statistics.miss(name, "", outcome.reason)
            return outcome
        soft = outcome.soft_expiry_ms
        stale = soft is not None and soft <= self._now_ms()
        self._statistics.hit(name, outcome, stale=stale)
        if outcome.expiry_ms is None:
            self._charge.used(name, outcome)
        if outcome.kind is Kind.NEGATIVE:
            return Miss(reason=MissReason.NEGATIVE)
        return outcome


# Kinds whose items lie beside the entry, so that there is no value to give back.
_BESIDE = {Kind.LIST, Kind.SET}


def _after(now_ms: int, span_ms: int | None) -> int | None:
    return None if span_ms is None else now_ms + span_ms


def _readable(outcome: Outcome) -> Outcome:
    """Return a miss for a list or a set: one of them must not spoil a batch."""
    if isinstance(outcome, Entry) and outcome.kind in _BESIDE:
        return UNREADABLE
    return outcome


def _each(results: Sequence[T | BaseException]) -> list[T | MainstayError]:
    """Return results and their own failures.

    Whatever else happened to one is raised, and so is what kept the store from all of them.
    """
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, MainstayError):
            raise result
    if all(isinstance(result, CacheError) for result in results):
        raise cast("CacheError", results[0])
    return cast("list[T | MainstayError]", list(results))


def _answer_bytes(name: EntryName, outcome: Outcome) -> int:
    size = RESULT_OVERHEAD_BYTES + len(name.key.encode())
    if isinstance(outcome, Entry):
        size += len(outcome.value) + len(outcome.content_type) + len(outcome.ttl_class)
        size += sum(len(tag.encode()) + 3 for tag in outcome.tags)
    return size


def _unmet(name: EntryName) -> ConflictError:
    return ConflictError(
        f"the entry {name.namespace}/{name.key} is not as the condition says; read it and decide",
        reason="CONDITION_UNMET",
    )
