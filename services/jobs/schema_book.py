"""The contracts of events as tenants have them: those in files, and those that were put by calls.

What was put once is never changed, so it is compiled once. Which version is the newest is looked up
when the last look is older than `FRESH`: a version put at another replica counts here that soon.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

import orjson

from services.jobs.schemas import EventSchema, EventSchemas, can_be_put, compiled
from shared.rpc.call import Tenant

FRESH = 0.5
"""Seconds for which the newest version of a contract is remembered."""
MAX_COMPILED = 1_000
MAX_REMEMBERED = 10_000
MAX_NAMES = 200
"""How many names are told where one is unknown."""

Version = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchema:
    """A version of a contract as JSON text; None where the reader has it already."""

    name: str
    version: int
    text: str | None
    built_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSchema:
    """A version to look up, 0 for the newest; `known` is one whose text is not needed, or 0."""

    name: str
    version: int
    known: int = 0


class SchemaStore(Protocol):
    """Keeps contracts that were put by calls, each for a tenant or, under *, for all."""

    async def insert(self, tenant: Tenant, schema: StoredSchema) -> str:
        """Store a version unless it is there, and return the text of the one that is."""
        ...

    async def find(
        self, tenant: Tenant, wanted: Sequence[WantedSchema]
    ) -> Mapping[Version, StoredSchema]:
        """Return those that there are, by what was wanted."""
        ...

    async def list(
        self, tenant: Tenant, name: str, after: Version, limit: int
    ) -> list[StoredSchema]:
        """Return contracts by name and version, after one of them; of one event, or of all."""
        ...

    async def names(self, tenant: Tenant, limit: int) -> Sequence[str]:
        """Return the names of events that have a contract, sorted."""
        ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """Remembers so many things, and of more those that were used last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._things: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        thing = self._things.get(key)
        if thing is not None:
            self._things.move_to_end(key)
        return thing

    def put(self, key: K, thing: V) -> None:
        self._things[key] = thing
        if len(self._things) > self._size:
            self._things.popitem(last=False)

    def forget(self, key: K) -> None:
        self._things.pop(key, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Newest:
    """Which version was the newest, and when that was looked up."""

    version: int
    looked: float


class SchemaBook:
    """All contracts, by tenant, name and version; implements SchemaFinder."""

    def __init__(self, files: EventSchemas, store: SchemaStore, clock: Callable[[], float]) -> None:
        self._files = files
        self._store = store
        self._clock = clock
        self._compiled: _Recent[tuple[Tenant, str, int], EventSchema] = _Recent(MAX_COMPILED)
        self._newest: _Recent[tuple[Tenant, str], _Newest] = _Recent(MAX_REMEMBERED)
        # One look of a tenant at a time: whoever waits for it finds what it brought.
        self._looking: WeakValueDictionary[Tenant, asyncio.Lock] = WeakValueDictionary()

    async def find_all(
        self, tenant: Tenant, wanted: Collection[Version]
    ) -> Mapping[Version, EventSchema]:
        """Return those of the contracts that the tenant has; version 0 is the newest."""
        found = self._at_hand(tenant, wanted)
        if len(found) == len(wanted):
            return found
        lock = self._looking.get(tenant)
        if lock is None:
            lock = self._looking[tenant] = asyncio.Lock()
        async with lock:
            found = self._at_hand(tenant, wanted)
            missing = [each for each in wanted if each not in found]
            return found | await self._look(tenant, missing) if missing else found

    async def find(self, tenant: Tenant, name: str, version: int) -> EventSchema | None:
        """Return one contract."""
        return (await self.find_all(tenant, [(name, version)])).get((name, version))

    async def known_names(self, tenant: Tenant) -> Sequence[str]:
        """Return the names of all events that have one, sorted."""
        return sorted({*self._files.names, *await self._store.names(tenant, MAX_NAMES)})

    async def names_for(self, tenant: Tenant, triggers: Collection[str]) -> Sequence[str]:
        """Return names of events that have a contract, sorted: of the triggers those that do.

        Where all do, the others may be missing: nobody has to be told what to choose from.
        """
        put = {name for name in triggers if name not in self._files.names}
        if not put:
            return self._files.names
        found = await self.find_all(tenant, [(name, 0) for name in put])
        names = {name for name, _ in found}
        others = self._files.names if names == put else await self.known_names(tenant)
        return sorted({*others, *names})

    def learn(self, tenant: Tenant, name: str, version: int, text: str) -> EventSchema:
        """Return the contract that is stored under this name and version."""
        self._newest.forget((tenant, name))
        return self._compile(tenant, name, version, text)

    async def list(
        self, tenant: Tenant, name: str, after: Version, limit: int
    ) -> list[StoredSchema]:
        """Return contracts by name and version, after one of them; of one event, or of all."""
        may_be = not name or can_be_put(name, 0)
        stored = await self._store.list(tenant, name, after, limit) if may_be else []
        in_files = [
            StoredSchema(name=each.name, version=each.version, text=each.text, built_in=True)
            for each in self._files.every()
            if name in {"", each.name} and (each.name, each.version) > after
        ]
        # A file goes before what was put before there was that file.
        merged = {(each.name, each.version): each for each in (*stored, *in_files)}
        return [schema for _, schema in sorted(merged.items())][:limit]

    def _at_hand(self, tenant: Tenant, wanted: Collection[Version]) -> dict[Version, EventSchema]:
        found = {}
        for name, version in wanted:
            schema = self._one_at_hand(tenant, name, version)
            if schema is not None:
                found[name, version] = schema
        return found

    def _one_at_hand(self, tenant: Tenant, name: str, version: int) -> EventSchema | None:
        if version == 0:
            newest = self._newest.get((tenant, name))
            if newest is None or self._clock() - newest.looked > FRESH:
                return None
            version = newest.version
        return self._exactly(tenant, name, version)

    def _exactly(self, tenant: Tenant, name: str, version: int) -> EventSchema | None:
        if not version:
            return None
        in_file = self._files.find(name, version)
        return in_file or self._compiled.get((tenant, name, version))

    async def _look(self, tenant: Tenant, wanted: Sequence[Version]) -> dict[Version, EventSchema]:
        looked = self._clock()
        asked = [
            WantedSchema(name=name, version=version, known=self._known(tenant, name, version))
            for name, version in wanted
            if can_be_put(name, version)
        ]
        stored = await self._store.find(tenant, asked) if asked else {}
        for each in stored.values():
            if each.text is not None:
                self._compile(tenant, each.name, each.version, each.text)
        found = {}
        for name, version in wanted:
            put = stored.get((name, version))
            exact = version or max(put.version if put else 0, self._files.newest(name))
            schema = self._exactly(tenant, name, exact)
            if schema is not None:
                found[name, version] = schema
                if version == 0:
                    self._newest.put((tenant, name), _Newest(version=exact, looked=looked))
        return found

    def _known(self, tenant: Tenant, name: str, version: int) -> int:
        newest = self._newest.get((tenant, name)) if version == 0 else None
        if newest is None or self._compiled.get((tenant, name, newest.version)) is None:
            return 0
        return newest.version

    def _compile(self, tenant: Tenant, name: str, version: int, text: str) -> EventSchema:
        known = self._compiled.get((tenant, name, version))
        if known is not None:
            return known
        schema = EventSchema(
            name=name,
            version=version,
            validator=compiled(orjson.loads(text)),
            text=text,
            built_in=False,
        )
        self._compiled.put((tenant, name, version), schema)
        return schema
