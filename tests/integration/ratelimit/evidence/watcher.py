"""One replica's part that keeps evidence, with connections of its own and nothing else."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from services.ratelimit.act import Act
from services.ratelimit.analytics import Analytics, Report, ViolationPage, violation_page
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.decision import LimitState, PlanSource, decided
from services.ratelimit.evidence import Evidence
from services.ratelimit.policy import SECOND, Limit, Policy, Rule
from services.ratelimit.postgres_analytics import PostgresAnalytics
from services.ratelimit.postgres_evidence import PostgresEvidence
from services.ratelimit.postgres_violations import PostgresViolations
from services.ratelimit.redis_top import RedisTop
from services.ratelimit.violations import Violation
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.rpc.call import Tenant

ACME, GLOBEX, ALL = Tenant("acme"), Tenant("globex"), Tenant("*")
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
NOON = 1_777_636_800 * SECOND
LIMIT = Limit(quota=10, window=MINUTE, written="10/min")
EVERYTHING = Rule(name="everything", endpoints=("*",), default=(LIMIT,))


@dataclass(slots=True, kw_only=True)
class Watcher:
    """A replica, with a clock that the test sets."""

    redis: Redis
    database: Database
    keeper: PostgresEvidence
    top: RedisTop
    evidence: Evidence
    analytics: Analytics
    clock: SimpleNamespace

    def pass_time(self, microseconds: int) -> None:
        """Let time pass."""
        self.clock.now += microseconds

    def see(
        self,
        subject: str = "user:1",
        *,
        times: int = 1,
        admits: bool = False,
        tenant: Tenant = ACME,
        rule: str = "chat",
        plan: str = "",
        shadow: bool = False,
    ) -> None:
        """Decide something so often."""
        made = Rule(name=rule, endpoints=("*",), default=(LIMIT,), shadow=shadow)
        now = self.clock.now
        state = LimitState(made, LIMIT, admits, 0, now, now, None, None, False)
        decision = decided(rule, plan, PlanSource.NONE, (state,), decided_at=now, policy_version=0)
        for _ in range(times):
            self.evidence.record(tenant, Act(subject, f"/{rule}", plan, 1), decision)

    async def write(self) -> None:
        """Write all that was seen."""
        await self.evidence.write_out()

    async def page(self, tenant: Tenant = ACME, **narrowed: Any) -> ViolationPage:
        """List violations."""
        size, token = narrowed.pop("page_size", 0), narrowed.pop("page_token", "")
        asked = {"subject": "", "rule": "", "start": None, "end": None, **narrowed}
        return await self.analytics.violations(tenant, page=violation_page(size, token), **asked)

    async def violations(self, tenant: Tenant = ACME, **narrowed: Any) -> list[Violation]:
        """Return the violations of one page."""
        return [*(await self.page(tenant, **narrowed)).violations]

    async def report(self, tenant: Tenant = ACME, **narrowed: Any) -> Report:
        """Return the figures."""
        asked = {"window": HOUR, "rule": "", "plan": "", "top": 10, **narrowed}
        return await self.analytics.report(tenant, **asked)

    async def limited(self, tenant: Tenant = ACME, **narrowed: Any) -> list[tuple[str, int]]:
        """Return who was limited most, and how often."""
        report = await self.report(tenant, **narrowed)
        return [(subject.subject, count.most) for subject, count in report.top]


@asynccontextmanager
async def watcher(
    redis_url: str, postgres_url: str | None, *, max_buckets: int, max_violations: int
) -> AsyncIterator[Watcher]:
    """Run a replica; a database that is away is awaited no longer than the start tries."""
    clock = SimpleNamespace(now=NOON)
    redis = Redis(redis_url, timeout=2)
    database = Database(
        None if postgres_url is None else Postgres(postgres_url, migrations=MIGRATIONS, max_size=2)
    )
    await redis.start()
    await database.start()
    keeper = PostgresEvidence(
        database, lambda: clock.now, max_buckets=max_buckets, max_violations=max_violations
    )
    top = RedisTop(redis, lambda: clock.now, replica=secrets.token_hex(8))
    evidence = Evidence(
        policies=SimpleNamespace(current=Policy([EVERYTHING])),
        keeper=keeper,
        top=top,
        request_id=lambda: "call-1",
    )
    analytics = Analytics(
        violations=PostgresViolations(database),
        figures=PostgresAnalytics(database),
        top=top,
        recent=evidence,
        now_us=lambda: clock.now,
    )
    try:
        yield Watcher(
            redis=redis,
            database=database,
            keeper=keeper,
            top=top,
            evidence=evidence,
            analytics=analytics,
            clock=clock,
        )
    finally:
        await keeper.close()
        await database.close()
        await redis.close()
