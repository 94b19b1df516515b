"""Who is on which plan, for checks: quick, and never in the way of one.

A tenant without assignments needs no look-up. Other subjects are looked up through the cache
service, which has PostgreSQL behind it, or in PostgreSQL where the cache is away. A check waits for
that at most 50 ms; what it was not told in time is there for the next one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import asyncpg
import structlog

from mainstay.errors import DatabaseError, MainstayError
from services.ratelimit import plan_metrics
from services.ratelimit.plan_cache import PlanCache
from services.ratelimit.plan_memory import PlanMemory
from services.ratelimit.plan_ports import PlanKey, PlanStore
from services.ratelimit.ports import AssignedPlan
from shared.rpc.call import Tenant

BUDGET_SECONDS = 0.05
SILENCE_SECONDS = 0.025
"""After so long without a word of the cache PostgreSQL is asked: half of the budget is left."""
STORE_SECONDS = 1.0
LOOKUP_SECONDS = 2.0
MAX_LOOKUPS = 1_000
CACHED_SECONDS = 0.5
"""What came through the cache is taken as it is for so long: news travels on two ways, and should
both fail, a change is still effective within a second."""
UNCACHED_SECONDS = 3.0
"""The same while the cache is away: one query for each active subject in so many seconds."""
GIVEN_UP_SECONDS = 0.5
"""For so long nobody waits again for a plan that did not come in time, unless it comes."""
PAUSE_SECONDS = 1.0
"""For so long nobody asks PostgreSQL again after it did not answer."""

_NONE = AssignedPlan("")

log = structlog.get_logger()


class CachedPlanDirectory:
    """The `PlanDirectory` of production, and a resource: its look-ups end with it.

    Attributes:
        tenants: Those that have assignments; None as long as that is not known.

    """

    name = "plan directory"

    def __init__(
        self,
        store: PlanStore,
        cache: PlanCache | None,
        *,
        budget: float = BUDGET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tenants: set[Tenant] | None = None
        self._store = store
        self._cache = cache
        self._budget = budget
        self._clock = clock
        self._memory = PlanMemory()
        self._lookups: dict[PlanKey, asyncio.Task[AssignedPlan | None]] = {}
        self._running: set[asyncio.Task[AssignedPlan | None]] = set()
        self._store_away_until = float("-inf")
        self._is_store_away = False

    async def start(self) -> None:
        """Do nothing: nobody waits for a plan before there is a check."""

    async def close(self) -> None:
        """End the look-ups."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan | None:
        """Return the plan if that is known without asking anybody, else None."""
        if self.tenants is not None and tenant not in self.tenants:
            return _NONE
        return self._memory.fresh((tenant, subject), self._clock())

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        """Look the plan up, for 50 ms at most; else return the last that was known, as unsure."""
        at_hand = self.at_hand(tenant, subject)
        if at_hand is not None:
            return at_hand
        key = PlanKey(tenant, subject)
        lookup = self._lookup(key)
        if lookup is not None:
            await asyncio.wait({lookup}, timeout=self._budget)
            if lookup.done() and not lookup.cancelled():
                found = lookup.result()
                if found is not None:
                    return found
        return self._best_known(key)

    def _best_known(self, key: PlanKey) -> AssignedPlan:
        """Return what is known without an answer, and keep others from waiting in vain too."""
        now = self._clock()
        learnt = self._memory.fresh(key, now)
        if learnt is not None:
            return learnt
        believed = self._memory.give_up(key, now=now, seconds=GIVEN_UP_SECONDS)
        plan_metrics.lookups.labels("memory" if believed.plan else "nobody").inc()
        return believed

    def learn(self, changes: Sequence[tuple[PlanKey, str]]) -> None:
        """Take over what plans are now."""
        now = self._clock()
        for key, plan in changes:
            if self.tenants is not None:
                self.tenants.add(key.tenant)
            # Who asked before may be given what was; it is not remembered.
            self._lookups.pop(key, None)
            if key in self._memory:
                self._memory.put(key, plan, now=now, fresh_seconds=CACHED_SECONDS)

    def _lookup(self, key: PlanKey) -> "asyncio.Task[AssignedPlan | None] | None":
        """Return the look-up of a plan, begun by whoever asks first; None when too many are."""
        lookup = self._lookups.get(key)
        if lookup is None and len(self._running) < MAX_LOOKUPS:
            lookup = asyncio.create_task(self._look_up(key), name="plan look-up")
            self._lookups[key] = lookup
            self._running.add(lookup)
            lookup.add_done_callback(partial(self._end, key))
        return lookup

    def _end(self, key: PlanKey, lookup: "asyncio.Task[AssignedPlan | None]") -> None:
        self._running.discard(lookup)
        if self._lookups.get(key) is lookup:
            del self._lookups[key]

    async def _look_up(self, key: PlanKey) -> AssignedPlan | None:
        """Ask, and remember the answer unless the plan was changed meanwhile."""
        began = asyncio.current_task()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                plan, fresh_seconds = await self._ask(key)
        except (TimeoutError, MainstayError, asyncpg.PostgresError) as error:
            log.debug("plan_not_found", tenant=key.tenant, error=str(error))
            return None
        if self._lookups.get(key) is not began:
            return AssignedPlan(plan)
        return self._memory.put(key, plan, now=self._clock(), fresh_seconds=fresh_seconds)

    async def _ask(self, key: PlanKey) -> tuple[str, float]:
        """Return a plan and for how long to believe it."""
        if self._cache is not None and self._cache.may_answer(key):
            try:
                plan = await self._ask_cache(self._cache, key)
            except DatabaseError:
                raise  # the cache is there, what is behind it is not
            except (TimeoutError, MainstayError) as error:
                log.debug("plan_not_cached", tenant=key.tenant, error=str(error))
            else:
                plan_metrics.lookups.labels("cache").inc()
                return plan, CACHED_SECONDS
        plan = await self._find_stored(key)
        plan_metrics.lookups.labels("database").inc()
        return plan, UNCACHED_SECONDS

    async def _ask_cache(self, cache: PlanCache, key: PlanKey) -> str:
        """Ask the cache; raises TimeoutError when it keeps silent for so long that it is away."""
        asking = True

        async def find() -> str:
            # It may be called later, to refresh what was served long before.
            if asking and not patience.expired():
                patience.reschedule(None)  # the cache has answered: it has nothing
            return await self._find_stored(key)

        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:
                return await cache.get(key, find)
        finally:
            asking = False

    async def _find_stored(self, key: PlanKey) -> str:
        if self._clock() < self._store_away_until:
            raise DatabaseError("PostgreSQL did not answer a moment ago", retry_after=PAUSE_SECONDS)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                assignment = await self._store.find(key.tenant, key.subject)
        except (TimeoutError, DatabaseError) as error:
            self._lose_store(error)
            raise DatabaseError("PostgreSQL does not answer", retry_after=PAUSE_SECONDS) from error
        if self._is_store_away:
            self._is_store_away = False
            log.info("plans_found_again")
        return "" if assignment is None else assignment.plan

    def _lose_store(self, error: BaseException) -> None:
        self._store_away_until = self._clock() + PAUSE_SECONDS
        if not self._is_store_away:
            self._is_store_away = True
            log.warning("plans_not_found", error=str(error) or "PostgreSQL did not answer in time")
