"""The use case: checks what is asked, decides how long entries live, and reads and writes them."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import assert_never

from mainstay.errors import ValidationError
from services.cache.entry import Entry, Outcome
from services.cache.limits import (
    batch_fault,
    content_type_fault,
    key_fault,
    namespace_fault,
    ttl_fault,
    value_fault,
)
from services.cache.policy import CachePolicy, Expiry, InClass, Lifetime
from services.cache.ports import EntryStore, ReadCounter
from shared.rpc.call import Tenant

# Keys of a batch that are read together. A batch whose values add up to too much is refused after
# the part that crossed the line, not after a gigabyte has been fetched.
BATCH_PART = 100
# What one result of a batch costs on the wire beside key, value and content type, at most.
RESULT_OVERHEAD_BYTES = 64
# Faulty keys of a batch that an error lists; errors travel in headers, which are short.
MAX_FAULTS = 10


class Cache:
    """Reads and writes entries for tenants.

    `now_ms` is the time in milliseconds since 1970, `new_version` a number that differs from the
    last one of the same entry. `max_batch_bytes` bounds the answer to one batch.
    """

    def __init__(
        self,
        *,
        store: EntryStore,
        policy: CachePolicy,
        reads: ReadCounter,
        now_ms: Callable[[], int],
        new_version: Callable[[], int],
        max_value_bytes: int,
        max_batch_bytes: int,
    ) -> None:
        self._store = store
        self._policy = policy
        self._reads = reads
        self._now_ms = now_ms
        self._new_version = new_version
        self._max_value_bytes = max_value_bytes
        self._max_batch_bytes = max_batch_bytes

    async def get(self, tenant: Tenant, namespace: str, key: str) -> Outcome:
        _check_name(namespace, key)
        outcome = await self._store.get(tenant, namespace, key)
        self._reads.count(namespace, (outcome,))
        return outcome

    async def get_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> Sequence[Outcome]:
        _check_batch(namespace, keys)
        outcomes: list[Outcome] = []
        answer_bytes = 0
        for start in range(0, len(keys), BATCH_PART):
            part = keys[start : start + BATCH_PART]
            found = await self._store.get_many(tenant, namespace, part)
            answer_bytes += sum(map(_answer_bytes, part, found))
            if answer_bytes > self._max_batch_bytes:
                raise _batch_too_large(self._max_batch_bytes)
            outcomes += found
        self._reads.count(namespace, outcomes)
        return outcomes

    async def set(
        self,
        tenant: Tenant,
        namespace: str,
        key: str,
        value: bytes,
        *,
        content_type: str,
        expiry: Expiry,
    ) -> Entry:
        ttl_ms, expiry_faults = self._ttl(expiry)
        _refuse(
            {
                "namespace": namespace_fault(namespace),
                "key": key_fault(key),
                "value": value_fault(value, self._max_value_bytes),
                "content_type": content_type_fault(content_type),
                **expiry_faults,
            }
        )
        now = self._now_ms()
        entry = Entry(
            value=value,
            content_type=content_type,
            version=self._new_version(),
            create_ms=now,
            soft_expiry_ms=None,
            expiry_ms=None if ttl_ms is None else now + ttl_ms,
        )
        await self._store.put(tenant, namespace, key, entry, ttl_ms)
        return entry

    async def delete(self, tenant: Tenant, namespace: str, key: str) -> bool:
        _check_name(namespace, key)
        return await self._store.remove(tenant, namespace, key)

    def _ttl(self, expiry: Expiry) -> tuple[int | None, dict[str, str | None]]:
        """Return the lifetime in milliseconds, None for no end, and what is wrong with it."""
        match expiry:
            case None:
                return self._policy.default.ttl_ms, {}
            case Lifetime(ttl_ms=ttl_ms):
                return ttl_ms, {"ttl": ttl_fault(ttl_ms)}
            case InClass(name=name):
                found = self._policy.classes.get(name)
                if found is None:
                    known = ", ".join(sorted(self._policy.classes))
                    return None, {"ttl_class": f"{name[:64]!r} is unknown; known are {known}"}
                return found.ttl_ms, {}
            case _:
                assert_never(expiry)


def _check_name(namespace: str, key: str) -> None:
    wrong_namespace, wrong_key = namespace_fault(namespace), key_fault(key)
    if wrong_namespace or wrong_key:
        _refuse({"namespace": wrong_namespace, "key": wrong_key})


def _check_batch(namespace: str, keys: Sequence[str]) -> None:
    too_many = batch_fault(len(keys))
    faults = {"namespace": namespace_fault(namespace), "keys": too_many}
    if too_many is None:
        wrong = ((f"keys[{n}]", fault) for n, key in enumerate(keys) if (fault := key_fault(key)))
        faults.update(islice(wrong, MAX_FAULTS))
    _refuse(faults)


def _refuse(faults: dict[str, str | None]) -> None:
    """Raise with every field that has a fault, so that a caller corrects all of them at once."""
    fields = {field: fault for field, fault in faults.items() if fault}
    if fields:
        sentence = "; ".join(f"{field} {fault}" for field, fault in fields.items())
        raise ValidationError(sentence, fields=fields)


def _answer_bytes(key: str, outcome: Outcome) -> int:
    size = RESULT_OVERHEAD_BYTES + len(key.encode())
    if isinstance(outcome, Entry):
        size += len(outcome.value) + len(outcome.content_type)
    return size


def _batch_too_large(limit: int) -> ValidationError:
    what = f"hold more than {limit} bytes together; ask for fewer at once"
    return ValidationError(f"keys {what}", fields={"keys": what}, reason="BATCH_TOO_LARGE")
