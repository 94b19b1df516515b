"""One replica's part that knows plans, with connections of its own and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.cache.app import build as build_cache
from services.cache.settings import CacheSettings
from services.jobs.app import build as build_jobs
from services.jobs.settings import JobsSettings
from services.ratelimit import revisions
from services.ratelimit.audit import Actor
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.overrides import Override
from services.ratelimit.plan_cache import PlanCache
from services.ratelimit.plan_directory import CachedPlanDirectory
from services.ratelimit.plan_news import ReplicatedPlanNews
from services.ratelimit.plan_ports import PlanAssignment, PlanWish
from services.ratelimit.plans import Plans
from services.ratelimit.policy import SECOND, Limit, Plan, Policy, Rule
from services.ratelimit.postgres_plans import PostgresPlans
from services.ratelimit.resolving import Resolver
from services.ratelimit.revisions import Revisions
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.shared.waiting import PATIENCE, until

POLICIES = Path(__file__).parents[4] / "policies"
ACME = Tenant("acme")
OTHER = Tenant("other")
ANN = "user:ann"
SUPPORT = Actor("support", "request-1")
POLICY = Policy(
    [Rule(name="api", endpoints=("*",), default=(Limit(quota=10, window=60 * SECOND),))],
    plans=[
        Plan(name="basic", features=frozenset({"chat"})),
        Plan(name="pro", features=frozenset({"chat", "export"})),
        Plan(name="enterprise", features=frozenset({"chat", "export", "sso"})),
    ],
)


class NoOverrides:
    """Nobody has limits of his own."""

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        """Return nothing."""
        return None


class CountingPlans(PostgresPlans):
    """The real store, which tells how often it was asked who is on which plan.

    While its `gate` is shut, answers are held back after they were found.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked = 0
        self.found = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def find(self, tenant: Tenant, subject: str) -> PlanAssignment | None:
        """Count, and find."""
        self.asked += 1
        found = await super().find(tenant, subject)
        self.found.set()
        await self.gate.wait()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What tests reach for."""

    plans: Plans
    store: CountingPlans
    directory: CachedPlanDirectory
    news: ReplicatedPlanNews
    cache: PlanCache | None
    tasks: Mapping[str, "asyncio.Task[None]"]

    async def assign(self, subject: str, plan: str, *, tenant: Tenant = ACME) -> None:
        """Put a subject on a plan, as a call does."""
        await self.plans.assign(tenant, PlanWish(subject=subject, plan=plan), SUPPORT)

    async def plan_of(self, subject: str, *, tenant: Tenant = ACME) -> tuple[str, bool]:
        """Return the plan of a subject as a check gets it, and whether it is sure."""
        found = await self.directory.find(tenant, subject)
        return found.plan, found.known

    async def until_plan(self, subject: str, plan: str, *, tenant: Tenant = ACME) -> float:
        """Ask as checks do until the subject is on a plan; returns the seconds that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(PATIENCE):
            while (await self.plan_of(subject, tenant=tenant))[0] != plan:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.002)
        return loop.time() - began

    async def until_caught_up(self) -> None:
        """Return when every change so far was learnt, and told to the cache once more."""
        last = await self.store.last_revision()
        await until(lambda: self.news.seen is not None and self.news.seen >= last)

    async def stop(self, *names: str) -> None:
        """End background tasks, as if what they do did not get through."""
        for name in names:
            self.tasks[name].cancel()
        await asyncio.gather(*(self.tasks[name] for name in names), return_exceptions=True)


@asynccontextmanager
async def plan_replica(
    redis_url: str, postgres_url: str, cache_address: str = "", *, budget: float = 5.0
) -> AsyncIterator[Replica]:
    """Run within the block. By default a check waits for as long as a look-up takes."""
    async with AsyncExitStack() as stack:

        async def use(resource: Any) -> Any:
            await resource.start()
            stack.push_async_callback(resource.close)
            return resource

        redis = await use(Redis(redis_url, timeout=5.0))
        postgres = Postgres(postgres_url, migrations=MIGRATIONS, max_size=3)
        database = await use(Database(postgres))
        follower = Revisions(database, redis, redis_url, redis_timeout=5.0)
        cache = await use(PlanCache(cache_address)) if cache_address else None
        store = CountingPlans(database)
        directory = await use(CachedPlanDirectory(store, cache, budget=budget))
        announce = partial(follower.announce, revisions.PLANS)
        news = ReplicatedPlanNews(store, directory, cache, announce)
        follower.on_change(revisions.PLANS, news.hear)
        runs = {"revisions": follower.run, "news": news.run, "database": database.run_connecting}
        if cache is not None:
            runs["cache"] = cache.run
        tasks = {name: asyncio.create_task(run()) for name, run in runs.items()}
        stack.push_async_callback(_end, tasks)
        replica = Replica(
            plans=Plans(
                policies=SimpleNamespace(current=POLICY),
                store=store,
                news=news,
                resolver=Resolver(NoOverrides(), directory),
            ),
            store=store,
            directory=directory,
            news=news,
            cache=cache,
            tasks=tasks,
        )
        if database.connected:
            await replica.until_caught_up()
        yield replica


async def _end(tasks: Mapping[str, "asyncio.Task[None]"]) -> None:
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@asynccontextmanager
async def cache_service(redis_url: str, *, port: int = 0) -> AsyncIterator[str]:
    """Run the real cache service within the block; yields its address."""
    service = build_cache(
        CacheSettings.model_validate(
            {
                "redis_url": redis_url,
                "policies_dir": POLICIES,
                "cache_port": port,
                "cache_ops_port": 0,
                "shutdown_grace": 0.2,
            }
        )
    )
    async with service.running():
        yield service.address


@asynccontextmanager
async def jobs_service(postgres_url: str, *, port: int = 0) -> AsyncIterator[str]:
    """Run the real jobs service within the block; yields its address."""
    service = build_jobs(
        JobsSettings.model_validate(
            {
                "postgres_url": postgres_url,
                "policies_dir": POLICIES,
                "jobs_port": port,
                "jobs_ops_port": 0,
                "shutdown_grace": 0.2,
            }
        )
    )
    async with service.running():
        yield service.address
