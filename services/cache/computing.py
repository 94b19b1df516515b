"""The use case of computed entries: who gets the value, who computes it, and who waits.

A hit is served at once. Of those who find nothing one gets the lease; the others are held here
until the value is there or the lease passes to one of them. Nobody polls: a waiter looks again when
it is woken, and once more at the moment when the lease that it waits for ends.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mainstay.errors import CacheError
from services.cache.answer import Answer, Failed, Missing, served
from services.cache.checks import refuse, wrong_kind
from services.cache.entry import Entry, Kind, Miss, MissReason, Outcome
from services.cache.expiries import class_named
from services.cache.keys import EntryName, entry_key
from services.cache.lease import (
    DEFAULT_LEASE_MS,
    MAX_WAIT_MS,
    Changed,
    Granted,
    Held,
    Lease,
    Throttled,
    Token,
    issue,
    lease_fault,
    wait_fault,
)
from services.cache.lifetimes import refreshes_early
from services.cache.limits import key_fault, namespace_fault
from services.cache.ports import (
    Chance,
    Charge,
    Histories,
    Leases,
    NowMs,
    Policies,
    Reader,
    Statistics,
)
from services.cache.recollection import Recollection
from services.cache.waiters import Signal, Waiters
from shared.rpc.call import Tenant

DEADLINE_MARGIN = 0.05
"""Seconds before the deadline at which a held caller gets its answer."""

LEASE_SLACK = 0.002
"""Seconds after the end of a lease at which its waiters ask: Redis tells whole milliseconds."""

MAX_CHANGES = 3
"""Times that a caller looks again because the entry changed, before it takes the lease as it is.

An entry that we cannot read looks like nothing to us and like something to Redis, for ever.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller of GetOrLease asks for.

    Attributes:
        ttl_class: Whose rules decide on early refresh; empty for the default class.
        lease_ms: How long it may compute.
        wait_ms: How long it may be held; None for as long as its deadline allows.
        fresh_only: Whether a stale value is of no use.
        if_version: The version it holds already.

    """

    ttl_class: str = ""
    lease_ms: int = DEFAULT_LEASE_MS
    wait_ms: int | None = None
    fresh_only: bool = False
    if_version: int | None = None


class Computing:
    """Hands out values, and leases to compute them."""

    def __init__(
        self,
        *,
        reader: Reader,
        leases: Leases,
        waiters: Waiters,
        histories: Histories,
        charge: Charge,
        statistics: Statistics,
        policies: Policies,
        recollection: Recollection,
        now_ms: NowMs,
        chance: Chance,
        new_randomness: Callable[[], bytes],
    ) -> None:
        self._reader = reader
        self._leases = leases
        self._waiters = waiters
        self._histories = histories
        self._charge = charge
        self._statistics = statistics
        self._policies = policies
        self._recollection = recollection
        self._now_ms = now_ms
        self._chance = chance
        self._new_randomness = new_randomness

    async def get_or_lease(
        self, tenant: Tenant, namespace: str, key: str, wanted: Wanted, *, remaining: float
    ) -> Answer:
        """Return what there is within `remaining` seconds, with the lease if one is to compute.

        Raises CacheError without a store, and UnavailableError when too many wait already.
        """
        self._check(namespace, key, wanted)
        wait = MAX_WAIT_MS if wanted.wait_ms is None else wanted.wait_ms
        until = _now() + min(wait / 1000, remaining - DEADLINE_MARGIN)
        name = EntryName(tenant, namespace, key)
        try:
            outcome = await self._reader.read(name)
        except CacheError:
            self._statistics.miss(name, wanted.ttl_class, MissReason.STORE_UNAVAILABLE)
            raise
        if isinstance(outcome, Entry) and self._serves(outcome, wanted):
            return await self._serve(name, outcome, wanted)
        with self._waiters.waiting(entry_key(*name)) as signal:
            return await self._wait(name, outcome, wanted, signal, until)

    def _check(self, namespace: str, key: str, wanted: Wanted) -> None:
        wrong_class = None
        if wanted.ttl_class:
            _, wrong_class = class_named(self._policies.current, wanted.ttl_class)
        refuse(
            {
                "namespace": namespace_fault(namespace),
                "key": key_fault(key),
                "ttl_class": wrong_class,
                "lease_duration": lease_fault(wanted.lease_ms),
                "wait": None if wanted.wait_ms is None else wait_fault(wanted.wait_ms),
            }
        )

    def _serves(self, entry: Entry, wanted: Wanted) -> bool:
        """Return whether an entry is an answer; raises PreconditionError for a list or a set."""
        if entry.kind in {Kind.LIST, Kind.SET}:
            raise wrong_kind(entry.kind, wanted="a value")
        return not (wanted.fresh_only and self._is_stale(entry))

    def _is_stale(self, entry: Entry) -> bool:
        return entry.soft_expiry_ms is not None and entry.soft_expiry_ms <= self._now_ms()

    async def _serve(
        self, name: EntryName, entry: Entry, wanted: Wanted, *, missed: MissReason | None = None
    ) -> Answer:
        """Answer with an entry, and let the caller refresh it if it is time.

        `missed` is what a caller found that had to wait for it.
        """
        stale = self._is_stale(entry)
        lease = await self._refresh(name, entry, wanted) if self._is_due(entry, wanted) else None
        if missed is None:
            self._statistics.hit(name, entry, stale=stale)
        else:
            self._statistics.miss(name, wanted.ttl_class, missed)
            self._statistics.waited(name, entry)
        if entry.expiry_ms is None:
            self._charge.used(name, entry)
        return served(
            entry,
            stale=stale,
            held_version=wanted.if_version,
            lease=lease,
            waited=missed is not None,
        )

    def _is_due(self, entry: Entry, wanted: Wanted) -> bool:
        """Return whether an entry is to be refreshed, because it is stale or will soon be."""
        end = entry.soft_expiry_ms or entry.expiry_ms
        if end is None or entry.kind is Kind.NEGATIVE:
            return False
        classes = self._policies.current.classes
        ttl_class = classes.get(entry.ttl_class) or classes.get(wanted.ttl_class)
        return self._is_stale(entry) or refreshes_early(
            now_ms=self._now_ms(),
            soft_expiry_ms=end,
            compute_ms=entry.compute_ms,
            beta=(ttl_class or self._policies.current.default).early_refresh,
            chance=self._chance(),
        )

    async def _refresh(self, name: EntryName, entry: Entry, wanted: Wanted) -> Lease | None:
        reason = MissReason.EXPIRED if self._is_stale(entry) else entry.last_miss
        try:
            grant = await self._ask(name, entry, wanted, reason, waits=False)
        except CacheError:
            # Who has a value to give does not fail for want of a better one.
            return None
        return grant if isinstance(grant, Lease) else None

    async def _wait(
        self, name: EntryName, outcome: Outcome, wanted: Wanted, signal: Signal, until: float
    ) -> Answer:
        """Get the lease, or be held until another's computation or the wait is over.

        Whoever fills the entry between our look at it and our asking changes its version; whoever
        does so later finds us registered: no wake-up falls between.
        """
        first, waited, changes = outcome, False, 0
        while True:
            lost = waited and _version(outcome) == _version(first)
            reason = MissReason.LEASE_LOST if lost else _why(outcome)
            waits = _now() < until
            grant = await self._ask(
                name, outcome, wanted, reason, waits=waits, insists=changes >= MAX_CHANGES
            )
            match grant:
                case Held(left_ms=left) if waits:
                    waited = True
                    if not await _look_again(signal, left, until):
                        return self._missed(name, wanted, Missing(reason=reason, waited=True))
                case Changed():
                    changes += 1
                case _:
                    return self._missed(name, wanted, _empty(grant, reason, waited=waited))
            signal.clear()
            outcome = await self._reader.read(name)
            if isinstance(outcome, Entry) and self._serves(outcome, wanted):
                return await self._serve(
                    name, outcome, wanted, missed=_why(first) if waited else None
                )

    def _missed(self, name: EntryName, wanted: Wanted, answer: Missing | Failed) -> Answer:
        self._statistics.miss(name, wanted.ttl_class, answer.reason)
        return answer

    async def _ask(
        self,
        name: EntryName,
        outcome: Outcome,
        wanted: Wanted,
        reason: MissReason | None,
        *,
        waits: bool,
        insists: bool = False,
    ) -> Lease | Held | Throttled | Changed:
        """Ask for the lease on an entry that was judged; who `insists` takes it whatever is there.

        The history is read before the lease is granted, so that every invalidation from then on
        concerns what will be computed. One that comes in between would not have to; it costs a
        computation, where the other order would keep a value that is older than it.
        """
        history = await self._histories.current(Tenant(name.tenant))
        now = self._now_ms()
        token = issue(name, Token(history.sequence, now, reason), self._new_randomness())
        judged = None if insists else outcome
        grant = await self._leases.ask(name, token, wanted.lease_ms, judged=judged, waits=waits)
        if not isinstance(grant, Granted):
            return grant
        self._recollection.note_lease(entry_key(*name), now + wanted.lease_ms)
        version = outcome.version if isinstance(outcome, Entry) else None
        return Lease(token=token, duration_ms=wanted.lease_ms, stale_version=version)


def _empty(
    grant: Lease | Held | Throttled, reason: MissReason, *, waited: bool
) -> Missing | Failed:
    match grant:
        case Lease():
            return Missing(reason=reason, lease=grant, waited=waited)
        case Held():
            return Missing(reason=reason, waited=waited)
        case Throttled(error=error, left_ms=left):
            return Failed(reason=reason, error=error, retry_after_ms=left, waited=waited)


async def _look_again(signal: Signal, left_ms: int, until: float) -> bool:
    """Wait for a signal or the end of a lease; False if the caller's own wait is over before."""
    lease_end = _now() + left_ms / 1000 + LEASE_SLACK
    signalled = await signal.wait(within=min(lease_end, until) - _now())
    return signalled or _now() < until


def _why(outcome: Outcome) -> MissReason:
    # An entry that is no answer is stale, and the caller wants a fresh one.
    return outcome.reason if isinstance(outcome, Miss) else MissReason.EXPIRED


def _version(outcome: Outcome) -> int | None:
    return outcome.dead_version if isinstance(outcome, Miss) else outcome.version


def _now() -> float:
    return asyncio.get_running_loop().time()
