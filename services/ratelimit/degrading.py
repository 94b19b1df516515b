"""The counters' store that goes on deciding while Redis is away.

::

    Redis answers ─────────────► its verdict
    Redis fails ───────────────► each charge by its rule's mode; what is admitted is owed
    something is owed ─────────► the same, until Redis has been charged with it (`settling`)
    Redis was silent just now ─► the same, without asking; one caller a second tries again
    some replica may owe ──────► Redis and, for what is `local`, this replica's share: both

Whoever is owed for is decided here even when Redis is back: asked before it knows, it would admit
what has been admitted already. Once a payment has been sent Redis is asked, since that comes after
it on the same connection; a counter that is busy would never be without a debt if calls made new
ones while the old are paid.

What other replicas have admitted and not paid yet Redis does not know either. Until all have
settled (`replicas`) nobody admits more than its share, and the shares make the limit; what Redis
admits as well it has counted, so that no new debts come of it. Of a cluster, where a part is away
the tenants of the rest are decided as ever.

A call that was admitted here after Redis was silent may have been consumed there too. That counts
twice, which keeps the limit and costs the subject at most what it asked for.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import compress

from mainstay.errors import RateLimitStoreError
from services.ratelimit import degraded_metrics
from services.ratelimit.debts import Debts
from services.ratelimit.local_counters import LocalCounters, name_of
from services.ratelimit.local_gate import LocalGate
from services.ratelimit.patience import Patience
from services.ratelimit.policy import FailureMode, Rule
from services.ratelimit.ports import Charge, CounterStore, NowUs, Refunded
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

_DECISIONS = {mode: degraded_metrics.decisions.labels(mode.value) for mode in FailureMode}


class DegradingStore:
    """A `CounterStore` around the one in Redis, which decides by failure modes where that fails.

    `refund` and `reset` need the counters themselves and raise RateLimitStoreError; the other
    methods never do. `replicas` tells among how many a limit is shared, `settling` whether some of
    them may still have to charge Redis with what they admitted without it.
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
        settling: Callable[[], bool],
    ) -> None:
        self._store = store
        self._local = local
        self._debts = debts
        self._now_us = now_us
        self._replicas = replicas
        self._settling = settling
        self._gate = LocalGate(local, replicas=replicas)
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
        if self._settling():
            # They leave together all the same.
            return await asyncio.gather(*(self.decide(each, consume=consume) for each in checks))
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
                if verdicts is not None and self._settling():
                    self._gate.charge(charges, now=self._now_us())
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
        if self._settling():
            return await self._ask_both(charges, consume=consume)
        return await self._ask_redis(charges, consume=consume)

    async def _ask_both(
        self, charges: Sequence[Charge], *, consume: bool
    ) -> Sequence[Verdict] | None:
        """Return what Redis and the local share say; None, with nothing held, when Redis fails.

        The share is consumed first: of callers that come at once no more may reach Redis than have
        room here.
        """
        held = self._gate.hold(charges, consume=consume, now=self._now_us())
        verdicts: Sequence[Verdict] | None = None
        try:
            verdicts = await self._ask_redis(charges, consume=consume and held.admits)
        finally:
            self._gate.settle(held, charges, verdicts, now=self._now_us())
        if verdicts is None:
            return None
        combined = held.combined(charges, verdicts)
        self._count(verdict.degraded for verdict in combined)
        return combined

    async def _ask_redis(
        self, charges: Sequence[Charge], *, consume: bool
    ) -> Sequence[Verdict] | None:
        tenant = charges[0].tenant
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
        self._count(charge.rule.on_failure for charge in charges)
        return verdicts

    @staticmethod
    def _count(modes: Iterable[FailureMode | None]) -> None:
        for mode in modes:
            if mode is not None:
                _DECISIONS[mode].inc()

    def _note(self, tenant: Tenant, error: RateLimitStoreError) -> None:
        if error.metadata.get("cause") == "REDIS_TIMEOUT":
            self._patience.lose(tenant)
        else:
            # At once: nobody has to wait, so everybody may ask and notices when it is back.
            self._patience.regain(tenant)
