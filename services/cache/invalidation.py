"""The use case: makes entries stale for good, by key, tag, prefix, namespace or event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mainstay.errors import CacheError, NotFoundError
from services.cache.checks import MAX_FAULTS, check_names, refuse
from services.cache.entry import MissReason
from services.cache.event_template import DataError, EventTemplate
from services.cache.keys import EntryName
from services.cache.limits import invalidated_tags_faults, namespace_fault, prefix_fault
from services.cache.ports import ChangeLog, Charge, Dropped, EntryStore, Policies
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidated:
    """An invalidation that took place: its sequence, and the tags it concerned."""

    sequence: int
    tags: tuple[str, ...] = ()


class Invalidation:
    """Once one of its methods has returned, no read that begins finds what was there before.

    All of them raise CacheError when the store is gone; then it may have been done or not.
    """

    def __init__(
        self, *, store: EntryStore, log: ChangeLog, charge: Charge, policies: Policies
    ) -> None:
        self._store = store
        self._log = log
        self._charge = charge
        self._policies = policies

    async def by_keys(self, tenant: Tenant, namespace: str, keys: Sequence[str]) -> Invalidated:
        check_names(namespace, keys, within="keys.")
        sequence, existed = await self.invalidate_keys(tenant, namespace, keys)
        for failed in existed:
            if isinstance(failed, CacheError):
                raise failed
        return Invalidated(sequence=sequence)

    async def invalidate_keys(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> tuple[int, Sequence[bool | CacheError]]:
        """Remove entries whose names have been checked.

        Returns the sequence and for each whether it existed, or why it could not be removed.
        """
        names = [EntryName(tenant, namespace, key) for key in keys]
        drops = await self._store.drop_many(names, MissReason.KEY)
        for name, dropped in zip(names, drops, strict=True):
            if isinstance(dropped, Dropped) and dropped.header is not None:
                self._charge.settle(name, dropped.header)
        # Copies may exist of what the store has evicted too: of no key it is known that none does.
        sequence = await self._log.append_keys(tenant, namespace, keys)
        return sequence, [
            dropped.existed if isinstance(dropped, Dropped) else dropped for dropped in drops
        ]

    async def by_tags(self, tenant: Tenant, tags: Sequence[str]) -> Invalidated:
        refuse(dict(islice(invalidated_tags_faults(tags, "tags.tags").items(), MAX_FAULTS)))
        return await self._by_tags(tenant, tags, by_event=False)

    async def by_prefix(self, tenant: Tenant, namespace: str, prefix: str) -> Invalidated:
        faults = {"namespace": namespace_fault(namespace), "prefix": prefix_fault(prefix)}
        refuse({f"prefix.{part}": fault for part, fault in faults.items()})
        return Invalidated(sequence=await self._log.append(tenant, prefixes=[(namespace, prefix)]))

    async def by_namespace(self, tenant: Tenant, namespace: str) -> Invalidated:
        refuse({"namespace": namespace_fault(namespace)})
        return Invalidated(sequence=await self._log.append(tenant, namespaces=[namespace]))

    async def by_event(self, tenant: Tenant, kind: str, data: Mapping[str, object]) -> Invalidated:
        events = self._policies.current.events
        if kind not in events:
            raise _unknown(kind, events)
        return await self._by_tags(tenant, _rendered(events[kind], data), by_event=True)

    async def _by_tags(self, tenant: Tenant, tags: Sequence[str], *, by_event: bool) -> Invalidated:
        each = tuple(dict.fromkeys(tags))
        sequence = await self._log.append(tenant, tags=each, by_event=by_event)
        return Invalidated(sequence=sequence, tags=each)


def _rendered(templates: Sequence[EventTemplate], data: Mapping[str, object]) -> Sequence[str]:
    tags, faults = [], dict[str, str | None]()
    for template in templates:
        try:
            tags.append(template.render(data))
        except DataError as error:
            faults[f"event.data.{error.path}"] = str(error)
    refuse(faults)
    return tags


def _unknown(kind: str, known: Mapping[str, object]) -> NotFoundError:
    names = ", ".join(sorted(known)) or "none"
    return NotFoundError(
        f"the cache policy maps no event {kind[:100]!r} to tags; known are {names}",
        resource_type="event",
        resource_name=kind[:100],
        reason="EVENT_UNKNOWN",
    )
