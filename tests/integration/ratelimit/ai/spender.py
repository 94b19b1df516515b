"""One replica's part that budgets AI calls, with connections of its own and nothing else."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_bytes
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from services.ratelimit.act import Act
from services.ratelimit.ai_call import AiCall, AiEstimate
from services.ratelimit.ai_usage import AiBudgets, AiRecorded, AiReserved
from services.ratelimit.ai_usage_summary import AiUsageSummary, UsagePage, usage_page
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.debts import Debts
from services.ratelimit.decision import Decision
from services.ratelimit.degrading import DegradingStore
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.overrides import Override
from services.ratelimit.policy import (
    DAY,
    MAX_QUOTA,
    SECOND,
    UNLIMITED,
    Algorithm,
    Kind,
    Limit,
    Measure,
    Policy,
    Rule,
)
from services.ratelimit.ports import AssignedPlan, CounterStore
from services.ratelimit.postgres_ai_usage import PostgresAiUsage
from services.ratelimit.prices import Price, PriceTable, Tokens
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.resolving import Resolver
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.rpc.call import Tenant

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
ANN = "user:ann"
CATCH_ALL = Rule(name="api", endpoints=("*",), default=(Limit(quota=10, window=60 * SECOND),))
# A thousand tokens of a prompt cost 2,500 millionths of a dollar, of an answer 10,000.
PRICES = PriceTable(
    prices={
        "openai/gpt-4o": Price(input=2_500_000, output=10_000_000, cached_input=1_250_000),
        # Dearer from the provider's cache than not.
        "openai/odd": Price(input=1_000_000, output=0, cached_input=3_000_000),
        "openai/free": Price(input=0, output=0, cached_input=0),
    }
)


def per_day(quota: int, **more: Any) -> Limit:
    return Limit(quota=quota, window=DAY, **more)


def budget(name: str, measure: Measure, *limits: Limit, **more: Any) -> Rule:
    return Rule(
        name=name,
        endpoints=(),
        default=limits,
        kind=Kind.BUDGET,
        measure=measure,
        algorithm=limits[0].algorithm if limits else Algorithm.SLIDING_WINDOW,
        **more,
    )


TOKENS = budget(
    "ai_tokens",
    Measure.TOKENS,
    per_day(10_000),
    plans={"pro": (per_day(1_000_000),), "enterprise": UNLIMITED},
)
MONEY = budget(
    "ai_money",
    Measure.MONEY,
    per_day(50_000),
    plans={"pro": (per_day(MAX_QUOTA),), "enterprise": UNLIMITED},
)


class NoOverrides:
    """Nobody has limits of his own, but those that a test puts."""

    def __init__(self) -> None:
        self.put: dict[tuple[str, str], Override] = {}

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        return self.put.get((rule, subject))


class NoPlans:
    """Nobody was assigned a plan, but those whom a test gives one."""

    def __init__(self) -> None:
        self.assigned: dict[str, str] = {}

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan | None:
        return AssignedPlan(self.assigned.get(subject, ""))

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        return AssignedPlan(self.assigned.get(subject, ""))


@dataclass(slots=True)
class Seen:
    """What was decided."""

    decisions: list[tuple[Act, Decision]] = field(default_factory=list)

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        self.decisions.append((act, decision))


@dataclass(slots=True, kw_only=True)
class Spender:
    """A replica."""

    budgets: AiBudgets
    summary: AiUsageSummary
    usage: PostgresAiUsage
    database: Database
    store: CounterStore
    clock: StoreClock
    seen: Seen
    overrides: NoOverrides
    plans: NoPlans

    async def reserve(
        self,
        tokens: int,
        answer: int = 0,
        *,
        subject: str = ANN,
        tenant: Tenant = ACME,
        **more: Any,
    ) -> AiReserved:
        """Ask for a call that takes so many tokens and gives at most so many."""
        facts = {"plan": "", "provider": "openai", "model": "gpt-4o", **more}
        return await self.budgets.reserve(
            tenant, AiEstimate(subject=subject, tokens=Tokens(tokens, answer), **facts)
        )

    async def record(
        self,
        tokens: int,
        answer: int = 0,
        cached: int = 0,
        *,
        subject: str = ANN,
        tenant: Tenant = ACME,
        **more: Any,
    ) -> AiRecorded:
        """Record a call that took so many tokens and gave so many."""
        facts = {"plan": "", "provider": "openai", "model": "gpt-4o", **more}
        return await self.budgets.record(
            tenant, AiCall(subject=subject, tokens=Tokens(tokens, answer, cached), **facts)
        )

    async def left(self, *, subject: str = ANN, plan: str = "") -> list[int]:
        """Return what is left of each budget, without a call of any size."""
        recorded = await self.record(0, subject=subject, plan=plan)
        return [state.remaining for state in recorded.budgets]

    async def summarize(self, *, tenant: Tenant = ACME, **asked: Any) -> UsagePage:
        """Sum up what was recorded."""
        size, token = asked.pop("page_size", 0), asked.pop("page_token", "")
        narrowed = {"subject": "", "provider": "", "model": "", "group_by": ()}
        times = {"start": None, "end": None}
        return await self.summary.summarize(
            tenant, page=usage_page(size, token), **{**narrowed, **times, **asked}
        )


@asynccontextmanager
async def spender(
    redis_url: str,
    postgres_url: str | None,
    *,
    rules: tuple[Rule, ...] = (TOKENS, MONEY),
    max_waiting: int = 100,
) -> AsyncIterator[Spender]:
    """Run a replica with some budgets."""
    redis = Redis(redis_url, timeout=2)
    await redis.start()
    clock = StoreClock(redis)
    await clock.start()
    database = Database(
        None if postgres_url is None else Postgres(postgres_url, migrations=MIGRATIONS, max_size=4)
    )
    await database.start()
    usage = PostgresAiUsage(database, max_waiting=max_waiting)
    store = DegradingStore(
        RedisCounterStore(redis),
        LocalCounters(),
        Debts(replica=uuid4().hex),
        now_us=clock.now_us,
        seconds=time.monotonic,
        replicas=lambda: 1,
        settling=lambda: False,
    )
    seen, overrides, plans = Seen(), NoOverrides(), NoPlans()
    budgets = AiBudgets(
        policies=SimpleNamespace(current=Policy([CATCH_ALL, *rules], prices=PRICES)),
        resolver=Resolver(overrides, plans),
        store=store,
        reservations=RedisReservations(redis, new_randomness=lambda: token_bytes(16)),
        usage=usage,
        observer=seen,
        now_us=clock.now_us,
        new_id=uuid4,
    )
    try:
        yield Spender(
            budgets=budgets,
            summary=AiUsageSummary(usage, clock.now_us),
            usage=usage,
            database=database,
            store=store,
            clock=clock,
            seen=seen,
            overrides=overrides,
            plans=plans,
        )
    finally:
        await usage.close()
        await database.close()
        await redis.close()
