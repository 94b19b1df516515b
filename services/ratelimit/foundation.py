"""What the rate limits stand on: stores, policy and plans, and who keeps them fresh."""

import secrets
from dataclasses import dataclass
from functools import partial

from services.ratelimit import revisions
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.degradation import degrading_counters
from services.ratelimit.degrading_leases import DegradingLeases
from services.ratelimit.lending_ports import LendingStore
from services.ratelimit.override_book import OverrideBook
from services.ratelimit.plan_cache import PlanCache
from services.ratelimit.plan_directory import CachedPlanDirectory
from services.ratelimit.plan_news import ReplicatedPlanNews
from services.ratelimit.plans import Plans
from services.ratelimit.policies import PoliciesInForce
from services.ratelimit.postgres_overrides import PostgresOverrides
from services.ratelimit.postgres_plans import PostgresPlans
from services.ratelimit.postgres_policies import PostgresPolicies
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_leases import RedisLeases
from services.ratelimit.resolving import Resolver
from services.ratelimit.retention import Retention
from services.ratelimit.revisions import Revisions
from services.ratelimit.settings import RateLimitSettings
from shared.outgoing import credentials_to
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Redis, and what counts there and goes on without it.

    Attributes:
        replica: The name of this process among those that share the counters.

    """

    redis: Redis
    clock: StoreClock
    store: LendingStore
    leases: DegradingLeases
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """PostgreSQL, and what it says of limits, kept in memory and fresh."""

    database: Database
    revisions: Revisions
    policies: PoliciesInForce
    versions: PostgresPolicies
    overrides: OverrideBook
    stored_overrides: PostgresOverrides
    directory: CachedPlanDirectory
    resolver: Resolver
    plans: Plans


def count(service: Service, settings: RateLimitSettings) -> Counting:
    """Return the counters, which the service keeps."""
    redis = Redis(settings.redis_url.get_secret_value(), timeout=settings.redis_timeout)
    clock = StoreClock(redis)
    replica = secrets.token_hex(8)
    counters = degrading_counters(
        service,
        redis=redis,
        clock=clock,
        store=RedisCounterStore(redis),
        replica=replica,
        expected_replicas=settings.processes,
    )
    leases = DegradingLeases(
        RedisLeases(redis), replicas=lambda: counters.replicas.count, now_us=clock.now_us
    )
    service.background("ratelimit-leases", leases.run)
    return Counting(redis=redis, clock=clock, store=counters.store, leases=leases, replica=replica)


def decide(
    service: Service, settings: RateLimitSettings, database: Database, counting: Counting
) -> Deciding:
    """Return what decides about limits, which the service keeps fresh."""
    changes = Revisions(
        database,
        counting.redis,
        settings.redis_url.get_secret_value(),
        redis_timeout=settings.redis_timeout,
    )
    versions = PostgresPolicies(database)
    policies = service.use(
        PoliciesInForce(
            settings.policies_dir / "ratelimit.yaml",
            database,
            versions,
            changes,
            report=service.report_condition,
        )
    )
    service.background("ratelimit-policy", policies.run)
    stored_overrides = PostgresOverrides(database)
    overrides = OverrideBook(stored_overrides, policies, counting.clock.now_us)
    changes.on_change(revisions.OVERRIDES, overrides.load)
    stored_plans, cache = PostgresPlans(database), _plan_cache(service, settings)
    directory = service.use(CachedPlanDirectory(stored_plans, cache))
    news = ReplicatedPlanNews(
        stored_plans, directory, cache, partial(changes.announce, revisions.PLANS)
    )
    if database.present:
        changes.on_change(revisions.PLANS, news.hear)
        service.background("ratelimit-plans", news.run)
    else:
        directory.tenants = set()  # nobody can be put on a plan
    service.background("ratelimit-revisions", changes.run)
    resolver = Resolver(overrides, directory)
    return Deciding(
        database=database,
        revisions=changes,
        policies=policies,
        versions=versions,
        overrides=overrides,
        stored_overrides=stored_overrides,
        directory=directory,
        resolver=resolver,
        plans=Plans(policies=policies, store=stored_plans, news=news, resolver=resolver),
    )


def connect(service: Service, settings: RateLimitSettings) -> Database:
    """Return PostgreSQL, if there is one, to which the service connects."""
    url, postgres = settings.postgres_url, None
    if url is not None:
        postgres = Postgres(
            url.get_secret_value(),
            migrations=MIGRATIONS,
            migrate=settings.postgres_migrate,
            max_size=settings.postgres_pool_size,
        )
    database = service.use(Database(postgres, report=partial(service.report_condition, "database")))
    service.background("ratelimit-database", database.run_connecting)
    service.background("ratelimit-retention", Retention(database).run)
    return database


def _plan_cache(service: Service, settings: RateLimitSettings) -> PlanCache | None:
    address = settings.ratelimit_cache_address
    if not address:
        return None
    cache = service.use(PlanCache(address, credentials=credentials_to(address, settings)))
    service.background("ratelimit-plan-cache", cache.run)
    return cache
