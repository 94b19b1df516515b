"""The use case of those who hold a lease: to store what they computed, to ask for time, to give up.

A fill is stored only if its lease is still held and nothing that concerns it was invalidated since
the lease was granted. A computed value that is refused is still right for the one who computed it.
"""

from collections.abc import Sequence

from mainstay.errors import PreconditionError, QuotaError
from services.cache.checks import refuse, wrong_kind
from services.cache.entry import Entry, Kind, Miss, MissReason, Outcome
from services.cache.expiries import life, life_again
from services.cache.fill import Fill, Filled, FillState, Found, Nothing, Unchanged, Value
from services.cache.frame import Header
from services.cache.history import History
from services.cache.keys import EntryName, entry_key
from services.cache.lease import (
    Gone,
    Kept,
    Lost,
    Token,
    compute_fault,
    error_fault,
    extension_ms,
    lease_fault,
    parse,
    throttle_fault,
    token_fault,
)
from services.cache.lifetimes import Life
from services.cache.limits import (
    content_type_fault,
    key_fault,
    namespace_fault,
    tags_faults,
    value_fault,
)
from services.cache.ports import (
    Chance,
    Charge,
    EntryStore,
    Histories,
    KeyLog,
    Leases,
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


class Filling:
    """Stores what was computed, once for each lease."""

    def __init__(
        self,
        *,
        reader: Reader,
        store: EntryStore,
        leases: Leases,
        histories: Histories,
        key_log: KeyLog,
        charge: Charge,
        statistics: Statistics,
        policies: Policies,
        recollection: Recollection,
        now_ms: NowMs,
        new_version: NewVersion,
        chance: Chance,
        max_value_bytes: int,
    ) -> None:
        self._reader = reader
        self._store = store
        self._leases = leases
        self._histories = histories
        self._key_log = key_log
        self._charge = charge
        self._statistics = statistics
        self._policies = policies
        self._recollection = recollection
        self._now_ms = now_ms
        self._new_version = new_version
        self._chance = chance
        self._max_value_bytes = max_value_bytes

    async def fill(self, tenant: Tenant, namespace: str, key: str, fill: Fill) -> Filled:
        """Store what was found, if the lease is still good for it.

        Raises PreconditionError for another's token and where there is nothing to keep (the lease
        goes on), and QuotaError, which ends the lease.
        """
        negative = isinstance(fill.found, Nothing)
        lived, expiry_faults = life(
            self._policies.current, fill.expiry, self._chance(), negative=negative
        )
        refuse(
            {
                **_lease_faults(namespace, key, fill.lease_token),
                **self._found_faults(fill.found),
                **expiry_faults,
                **tags_faults(fill.tags),
                "compute_duration": compute_fault(fill.compute_ms),
            }
        )
        name = EntryName(tenant, namespace, key)
        token = parse(fill.lease_token, name)
        if isinstance(fill.found, Unchanged):
            return await self._confirm(name, fill, token, fill.found.version)
        return await self._write(name, fill, token, self._new_entry(name, fill, token, lived))

    async def extend(
        self, tenant: Tenant, namespace: str, key: str, lease_token: bytes, lease_ms: int
    ) -> int:
        """Let the lease last so long from now, up to an hour in all.

        Returns for how long, in milliseconds; 0 if it is not held any more.
        """
        faults = _lease_faults(namespace, key, lease_token)
        refuse({**faults, "lease_duration": lease_fault(lease_ms)})
        name = EntryName(tenant, namespace, key)
        now = self._now_ms()
        granted = extension_ms(parse(lease_token, name), lease_ms, now)
        if granted <= 0 or not await self._leases.extend(name, lease_token, granted):
            return 0
        self._recollection.note_lease(entry_key(*name), now + granted)
        return granted

    async def abandon(
        self,
        tenant: Tenant,
        namespace: str,
        key: str,
        lease_token: bytes,
        *,
        error: str,
        throttle_ms: int,
    ) -> bool:
        """Give the lease back; with an error nobody computes for `throttle_ms`.

        Returns False if it was not held any more.
        """
        refuse(
            {
                **_lease_faults(namespace, key, lease_token),
                "error": error_fault(error),
                "throttle": throttle_fault(throttle_ms),
            }
        )
        name = EntryName(tenant, namespace, key)
        parse(lease_token, name)
        return await self._leases.abandon(name, lease_token, error=error, throttle_ms=throttle_ms)

    def _found_faults(self, found: Found | None) -> dict[str, str | None]:
        match found:
            case None:
                return {"outcome": "is not set; say what was found at the source"}
            case Value(value=value, content_type=content_type):
                return {
                    "value.value": value_fault(value, self._max_value_bytes),
                    "value.content_type": content_type_fault(content_type),
                }
            case _:
                return {}

    def _new_entry(self, name: EntryName, fill: Fill, token: Token, lived: Life) -> Entry:
        now = self._now_ms()
        found = fill.found if isinstance(fill.found, Value) else Value(value=b"")
        return Entry(
            value=found.value,
            content_type=found.content_type,
            version=self._new_version(),
            create_ms=now,
            soft_expiry_ms=_after(now, lived.soft_ttl_ms),
            expiry_ms=_after(now, lived.ttl_ms),
            stamp=token.sequence,
            tags=fill.tags,
            ttl_class=lived.ttl_class,
            compute_ms=fill.compute_ms,
            charged=charged_bytes(
                name, len(found.value), fill.tags, permanent=lived.ttl_ms is None
            ),
            kind=Kind.NEGATIVE if isinstance(fill.found, Nothing) else Kind.VALUE,
            last_miss=token.reason,
            near=lived.near,
        )

    async def _write(self, name: EntryName, fill: Fill, token: Token, entry: Entry) -> Filled:
        # What is invalidated after this look and before the write needs no second one: the entry
        # carries the stamp of its lease, so every read finds it dead.
        history = await self._histories.current(Tenant(name.tenant))
        if _is_dead(history, name, entry.tags, token):
            return await self._refuse(name, fill, entry.ttl_class)
        await self._admit(name, fill, entry)
        ttl_ms = None if entry.expiry_ms is None else entry.expiry_ms - entry.create_ms
        put = await self._store.put(name, entry, ttl_ms, lease_token=fill.lease_token)
        if put.state is not PutState.STORED:
            self._charge.settle(name, entry)
            return self._lost(name, entry.ttl_class)
        filled = self._stored(name, entry, put.replaced)
        if put.replaced is not None and put.replaced.near:
            await self._key_log.append_keys(Tenant(name.tenant), name.namespace, (name.key,))
        return filled

    async def _confirm(self, name: EntryName, fill: Fill, token: Token, version: int) -> Filled:
        before = await self._reader.read(name)
        history = await self._histories.current(Tenant(name.tenant))
        if isinstance(before, Entry) and before.kind in {Kind.LIST, Kind.SET}:
            raise wrong_kind(before.kind, wanted="a value")
        if _was_invalidated(history, name, before, token):
            return await self._refuse(name, fill, "")
        if isinstance(before, Miss) or before.version != version:
            return await self._nothing_to_keep(name, fill)
        return await self._keep(name, fill, token, before)

    async def _keep(self, name: EntryName, fill: Fill, token: Token, before: Entry) -> Filled:
        lived = life_again(self._policies.current, before, fill.expiry, self._chance())
        now = self._now_ms()
        entry = before._replace(
            create_ms=now,
            soft_expiry_ms=_after(now, lived.soft_ttl_ms),
            expiry_ms=_after(now, lived.ttl_ms),
            stamp=token.sequence,
            compute_ms=fill.compute_ms or before.compute_ms,
        )
        ends = entry.expiry_ms is not None
        # The books know what ends by its end, and what is permanent by its version, which stays.
        if ends:
            await self._admit(name, fill, entry)
        keeping = await self._leases.keep(name, fill.lease_token, entry, lived.ttl_ms)
        if isinstance(keeping, Kept):
            return self._stored(name, entry, keeping.before if ends else None)
        if ends:
            self._charge.settle(name, entry)
        match keeping:
            case Lost():
                return self._lost(name, entry.ttl_class)
            case Gone():
                return await self._nothing_to_keep(name, fill)

    async def _nothing_to_keep(self, name: EntryName, fill: Fill) -> Filled:
        if not await self._leases.holds(name, fill.lease_token):
            return self._lost(name, "")
        raise PreconditionError(
            f"the entry {name.namespace}/{name.key} of that version is not there to be kept; the "
            "lease goes on, so fill it with a value",
            reason="NOTHING_TO_KEEP",
            metadata={"subject": "unchanged.version"},
        )

    async def _admit(self, name: EntryName, fill: Fill, entry: Entry) -> None:
        try:
            await self._charge.admit(name, entry)
        except QuotaError:
            await self._leases.abandon(name, fill.lease_token)
            raise

    def _stored(self, name: EntryName, entry: Entry, replaced: Header | None) -> Filled:
        if replaced is not None:
            self._charge.settle(name, replaced)
        self._statistics.filled(name, entry.ttl_class)
        self._recollection.note(entry_key(*name), entry.expiry_ms)
        return Filled(state=FillState.STORED, entry=entry)

    def _lost(self, name: EntryName, ttl_class: str) -> Filled:
        self._statistics.refused(name, ttl_class)
        return Filled(state=FillState.LEASE_LOST)

    async def _refuse(self, name: EntryName, fill: Fill, ttl_class: str) -> Filled:
        """Give back a lease whose fill would be dead, so that those who wait compute anew."""
        await self._leases.abandon(name, fill.lease_token)
        self._statistics.refused(name, ttl_class)
        return Filled(state=FillState.INVALIDATED)


def _lease_faults(namespace: str, key: str, lease_token: bytes) -> dict[str, str | None]:
    return {
        "namespace": namespace_fault(namespace),
        "key": key_fault(key),
        "lease_token": token_fault(lease_token),
    }


def _is_dead(history: History, name: EntryName, tags: Sequence[str], token: Token) -> bool:
    verdict = history.verdict(name.namespace, name.key, tuple(tags), token.sequence)
    return verdict is not None or token.sequence < max(history.floor, history.retired)


def _was_invalidated(history: History, name: EntryName, before: Outcome, token: Token) -> bool:
    """Return whether what is to be kept was invalidated since the lease was granted."""
    if isinstance(before, Entry):
        return _is_dead(history, name, before.tags, token)
    # What was dead before the lease was granted is only nothing to keep.
    return before.reason in _INVALIDATED and history.sequence > token.sequence


_INVALIDATED = {MissReason.TAG, MissReason.PREFIX, MissReason.NAMESPACE, MissReason.EVENT}


def _after(now_ms: int, span_ms: int | None) -> int | None:
    return None if span_ms is None else now_ms + span_ms
