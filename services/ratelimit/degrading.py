"""The counters' store that goes on deciding while Redis is away.

::

    Redis answers ─────────────► its verdict
    Redis fails ───────────────► each charge by its rule's mode; what is admitted is owed
    something is owed ─────────► the same, until Redis has been charged with it (`settling`)
    Redis was silent just now ─► the same, without asking; one caller a second tries again

Whoever is owed for is decided here even when Redis is back: asked before it knows, it would admit
what has been admitted already, here or by another replica. Once a payment has been sent Redis is
asked, since that comes after it on the same connection; a counter that is busy would never be
without a debt if calls made new ones while the old are paid.

A call that was admitted here after Redis was silent may have been consumed there too. That counts
twice, which keeps the limit and costs the subject at most what it asked for.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import compress

from mainstay.errors import RateLimitStoreError
from services.ratelimit import degraded_metrics
from services.ratelimit.debts import Debts
from services.ratelimit.local_counters import LocalCounters, name_of
from services.ratelimit.policy import FailureMode, Rule
from services.ratelimit.ports import Charge, CounterStore, NowUs, Refunded
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

HOLD_OFF = 1.0
"""Seconds for which a tenant's calls do not wait for a Redis that has let one of them wait."""
MAX_HELD_OFF = 10_000

_DECISIONS = {mode: degraded_metrics.decisions.labels(mode.value) for mode in FailureMode}


class Patience:
    """Knows for whom Redis was silent lately.

    By tenant: on a cluster, the node that has one tenant's counters may be gone alone. All that a
    connection breaks for, the Redis client itself refuses at once; this is for one that is slow.
    """

    def __init__(self, seconds: Callable[[], float], *, most: int = MAX_HELD_OFF) -> None:
        self._seconds = seconds
        self._most = most
        self._until: OrderedDict[Tenant, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def allows(self, tenant: Tenant) -> bool:
        """Return whether to ask; when the time has come, this caller alone is to try, and must."""
        until = self._until.get(tenant)
        if until is None:
            return True
        now = self._seconds()
        if now < until:
            return False
        self._until[tenant] = now + HOLD_OFF
        return True

    def lose(self, tenant: Tenant) -> None:
        """Ask nothing for a while."""
        self._until[tenant] = self._seconds() + HOLD_OFF
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def regain(self, tenant: Tenant) -> None:
        """Ask again."""
        self._until.pop(tenant, None)


class DegradingStore:
    """A `CounterStore` around the one in Redis, which decides by failure modes where that fails.

    `refund` and `reset` need the counters themselves and raise RateLimitStoreError; the other
    methods never do. `replicas` tells among how many a limit is shared.
    """

    def __init__(
        self,
        store: CounterStore,
        local: LocalCounters,
        debts: Debts,
        *,
        now_us: NowUs,
        seconds: Callable[[], float],
        replicas: Callable[[], int],
    ) -> None:
        self._store = store
        self._local = local
        self._debts = debts
        self._now_us = now_us
        self._replicas = replicas
        self._patience = Patience(seconds)

    async def decide(self, charges: Sequence[Charge], *, consume: bool) -> Sequence[Verdict]:
        """Decide in one step, by Redis or here."""
        verdicts = await self._ask(charges, consume=consume)
        return self._decide_here(charges, consume=consume) if verdicts is None else verdicts

    async def lend(self, charges: Sequence[Charge], *, least: int) -> Sequence[Verdict]:
        """Decide and consume in one step; here no more than `least` of each charge."""
        verdicts = await self._ask(charges, consume=True)
        return (
            self._decide_here(charges, consume=True, most=least) if verdicts is None else verdicts
        )

    async def decide_each(
        self, checks: Sequence[Sequence[Charge]], *, consume: bool
    ) -> Sequence[Sequence[Verdict]]:
        """Decide checks that do not depend on each other, each by Redis or here."""
        if self._undisturbed:
            asks = [True] * len(checks)
        else:
            asks = [self._is_asked(each) for each in checks]
            if any(asks) and not self._patience.allows(checks[0][0].tenant):
                asks = [False] * len(checks)
        asked = checks if all(asks) else list(compress(checks, asks))
        answers = await self._ask_each(asked, consume=consume)
        if answers is None:
            return [self._decide_here(each, consume=consume) for each in checks]
        if asked is checks:
            return answers
        answer = iter(answers)
        return [
            next(answer) if is_asked else self._decide_here(each, consume=consume)
            for each, is_asked in zip(checks, asks, strict=True)
        ]

    async def charge(
        self, charges: Sequence[Charge], *, once: str = ""
    ) -> Sequence[Verdict] | None:
        """Consume, in Redis now or as soon as it is back."""
        tenant = charges[0].tenant
        if self._patience.allows(tenant):
            try:
                verdicts = await self._store.charge(charges, once=once)
            except RateLimitStoreError as error:
                self._note(tenant, error)
            else:
                self._patience.regain(tenant)
                return verdicts
        now = self._now_us()
        if not once:
            self._debts.add(charges, now)
        elif not self._debts.name(charges, once=once, now=now):
            return None
        return self._local.charge(charges, now=now, replicas=self._replicas())

    async def refund(
        self, charges: Sequence[Charge], *, admitted_at: int | None, once: str = ""
    ) -> Refunded:
        """Give back what Redis knows of; raises RateLimitStoreError while it is away."""
        return await self._store.refund(charges, admitted_at=admitted_at, once=once)

    async def reset(self, tenant: Tenant, rules: Sequence[Rule], subject: str) -> Sequence[str]:
        """Forget, in Redis and here; raises RateLimitStoreError while Redis is away."""
        forgotten = set(await self._store.reset(tenant, rules, subject))
        asked = {rule.name for rule in rules}
        names = {
            name
            for name in (*self._local.names(), *self._debts.names())
            if (name.tenant, name.subject) == (tenant, subject) and name.rule in asked
        }
        self._debts.forget(names)
        for name in names:
            self._local.drop(name)
            forgotten.add(name.rule)
        return [rule.name for rule in rules if rule.name in forgotten]

    @property
    def _undisturbed(self) -> bool:
        return not self._debts and not self._patience

    def _is_asked(self, charges: Sequence[Charge]) -> bool:
        """Return whether Redis knows all that it has to about these counters."""
        return not any(self._debts.is_due(name_of(charge)) for charge in charges)

    async def _ask(self, charges: Sequence[Charge], *, consume: bool) -> Sequence[Verdict] | None:
        """Return what Redis says, None when it is not asked or does not answer."""
        tenant = charges[0].tenant
        if not self._undisturbed and not (
            self._is_asked(charges) and self._patience.allows(tenant)
        ):
            return None
        try:
            verdicts = await self._store.decide(charges, consume=consume)
        except RateLimitStoreError as error:
            self._note(tenant, error)
            return None
        self._patience.regain(tenant)
        return verdicts

    async def _ask_each(
        self, checks: Sequence[Sequence[Charge]], *, consume: bool
    ) -> Sequence[Sequence[Verdict]] | None:
        """Return what Redis says of each, None when it does not answer."""
        if not checks:
            return ()
        tenant = checks[0][0].tenant
        try:
            answers = await self._store.decide_each(checks, consume=consume)
        except RateLimitStoreError as error:
            self._note(tenant, error)
            return None
        self._patience.regain(tenant)
        return answers

    def _decide_here(
        self, charges: Sequence[Charge], *, consume: bool, most: int | None = None
    ) -> Sequence[Verdict]:
        now = self._now_us()
        verdicts, consumed = self._local.decide(
            charges, consume=consume, now=now, replicas=self._replicas(), most=most
        )
        self._debts.add(consumed, now)
        for charge in charges:
            _DECISIONS[charge.rule.on_failure].inc()
        return verdicts

    def _note(self, tenant: Tenant, error: RateLimitStoreError) -> None:
        if error.metadata.get("cause") == "REDIS_TIMEOUT":
            self._patience.lose(tenant)
        else:
            # At once: nobody has to wait, so everybody may ask and notices when it is back.
            self._patience.regain(tenant)
