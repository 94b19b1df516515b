"""The composition root of the rate limits: the only module that knows all their parts."""

import secrets
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from mainstay.envoy.ratelimit.v3 import rls_pb2_grpc
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit import revisions, serving_envoy
from services.ratelimit.ai_usage import AiBudgets
from services.ratelimit.ai_usage_summary import AiUsageSummary
from services.ratelimit.analytics import Analytics
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.degradation import degrading_counters
from services.ratelimit.degrading_leases import DegradingLeases
from services.ratelimit.envoy_limiting import EnvoyLimiting
from services.ratelimit.evidence import Evidence, current_request_id
from services.ratelimit.explaining import Explaining
from services.ratelimit.leasing import Leasing
from services.ratelimit.limiter import Limiter
from services.ratelimit.listing import Listing
from services.ratelimit.membership_worker import MembershipWorker
from services.ratelimit.observing import Observers
from services.ratelimit.override_book import OverrideBook
from services.ratelimit.overriding import Overriding
from services.ratelimit.plan_cache import PlanCache
from services.ratelimit.plan_directory import CachedPlanDirectory
from services.ratelimit.plan_news import ReplicatedPlanNews
from services.ratelimit.plans import Plans
from services.ratelimit.policies import PoliciesInForce
from services.ratelimit.policy_versions import PolicyVersions
from services.ratelimit.ports import CounterStore, DecisionObserver
from services.ratelimit.postgres_ai_usage import PostgresAiUsage
from services.ratelimit.postgres_analytics import PostgresAnalytics
from services.ratelimit.postgres_evidence import PostgresEvidence
from services.ratelimit.postgres_overrides import PostgresOverrides
from services.ratelimit.postgres_plans import PostgresPlans
from services.ratelimit.postgres_policies import PostgresPolicies
from services.ratelimit.postgres_violations import PostgresViolations
from services.ratelimit.previewing import Previewing
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_leases import RedisLeases
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.redis_top import RedisTop
from services.ratelimit.redis_traffic import RedisTraffic, TrafficRecorder
from services.ratelimit.reserving import Reserving
from services.ratelimit.resetting import Resetting
from services.ratelimit.resolving import Resolver
from services.ratelimit.retention import Retention
from services.ratelimit.servicer import METHODS, RateLimitServicer
from services.ratelimit.settings import RateLimitSettings
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.service import Service

_RANDOM_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    """What every part of the service shares."""

    database: Database
    redis: Redis
    clock: StoreClock
    revisions: revisions.Revisions
    store: CounterStore
    leases: DegradingLeases
    policies: PoliciesInForce
    versions: PostgresPolicies
    overrides: OverrideBook
    stored_overrides: PostgresOverrides
    directory: CachedPlanDirectory
    resolver: Resolver
    plans: Plans
    replica: str


def build(settings: RateLimitSettings) -> Service:
    """Return the service, not yet started; a wrong policy file raises ConfigurationError."""
    service = Service(
        "ratelimit",
        settings,
        port=settings.ratelimit_port,
        ops_port=settings.ratelimit_ops_port,
    )
    books = _books(service, settings)
    evidence, analytics = _evidence(service, books)
    observer = Observers((evidence, _traffic(service, books)))
    limiter = Limiter(
        policies=books.policies,
        resolver=books.resolver,
        store=books.store,
        observer=observer,
        now_us=books.clock.now_us,
    )
    service.expose(
        pb_grpc.add_RateLimitServiceServicer_to_server,
        _servicer(service, books, limiter, observer, evidence, analytics),
        methods=METHODS,
    )
    envoy = EnvoyLimiting(
        policies=books.policies,
        resolver=books.resolver,
        limiter=limiter,
        store=books.store,
        observer=observer,
    )
    service.expose(
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server,
        serving_envoy.EnvoyServicer(envoy),
        methods=serving_envoy.METHODS,
    )
    # Where no plan can be kept, the event must not be taken and lost.
    if settings.ratelimit_jobs_address and books.database.present:
        worker = MembershipWorker(settings.ratelimit_jobs_address, books.plans)
        service.on_drain(worker.drain)
        service.background("ratelimit-memberships", worker.run)
    return service


def _books(service: Service, settings: RateLimitSettings) -> _Books:
    database = _database(service, settings)
    url, timeout = settings.redis_url.get_secret_value(), settings.redis_timeout
    redis = Redis(url, timeout=timeout)
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
    changes = revisions.Revisions(database, redis, url, redis_timeout=timeout)
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
    overrides = OverrideBook(stored_overrides, policies, clock.now_us)
    changes.on_change(revisions.OVERRIDES, overrides.load)
    stored_plans = PostgresPlans(database)
    cache = _plan_cache(service, settings)
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
    return _Books(
        database=database,
        redis=redis,
        clock=clock,
        revisions=changes,
        store=counters.store,
        leases=leases,
        policies=policies,
        versions=versions,
        overrides=overrides,
        stored_overrides=stored_overrides,
        directory=directory,
        resolver=resolver,
        plans=Plans(policies=policies, store=stored_plans, news=news, resolver=resolver),
        replica=replica,
    )


def _database(service: Service, settings: RateLimitSettings) -> Database:
    url, postgres = settings.postgres_url, None
    if url is not None:
        postgres = Postgres(
            url.get_secret_value(),
            migrations=MIGRATIONS,
            migrate=settings.postgres_migrate,
            max_size=settings.postgres_pool_size,
        )
    database = service.use(Database(postgres))
    service.background("ratelimit-database", database.run_connecting)
    service.background("ratelimit-retention", Retention(database).run)
    return database


def _plan_cache(service: Service, settings: RateLimitSettings) -> PlanCache | None:
    if not settings.ratelimit_cache_address:
        return None
    cache = service.use(PlanCache(settings.ratelimit_cache_address))
    service.background("ratelimit-plan-cache", cache.run)
    return cache


def _evidence(service: Service, books: _Books) -> tuple[Evidence, Analytics]:
    """Keep what was decided, and let it be asked for."""
    keeper = service.use(PostgresEvidence(books.database, books.clock.now_us))
    top = RedisTop(books.redis, books.clock.now_us, replica=books.replica)
    evidence = Evidence(
        policies=books.policies, keeper=keeper, top=top, request_id=current_request_id
    )
    service.background("ratelimit-evidence", evidence.run)
    service.background("ratelimit-evidence-writer", keeper.run)
    service.background("ratelimit-most-limited", top.run)
    analytics = Analytics(
        violations=PostgresViolations(books.database),
        figures=PostgresAnalytics(books.database),
        top=top,
        recent=evidence,
        now_us=books.clock.now_us,
    )
    return evidence, analytics


def _traffic(service: Service, books: _Books) -> TrafficRecorder:
    recorder = TrafficRecorder(books.redis, books.directory)
    service.background("ratelimit-traffic", recorder.run)
    return recorder


def _servicer(
    service: Service,
    books: _Books,
    limiter: Limiter,
    observer: DecisionObserver,
    evidence: Evidence,
    analytics: Analytics,
) -> RateLimitServicer:
    policies, resolver, now_us = books.policies, books.resolver, books.clock.now_us
    store = books.store
    reservations = RedisReservations(books.redis, new_randomness=_new_randomness)
    usage = service.use(PostgresAiUsage(books.database))
    service.background("ratelimit-ai-usage", usage.run)
    return RateLimitServicer(
        limiter=limiter,
        explaining=Explaining(
            policies=policies, resolver=resolver, store=store, places=books.leases, now_us=now_us
        ),
        resetting=Resetting(policies=policies, store=store, database=books.database),
        plans=books.plans,
        overriding=Overriding(
            policies=policies,
            store=books.stored_overrides,
            announcement=books.revisions,
            now_us=now_us,
        ),
        listing=Listing(policies),
        policy_versions=PolicyVersions(books.versions, policies),
        previewing=Previewing(
            policies=policies,
            traffic=RedisTraffic(books.redis, now_us),
            overrides=books.overrides,
            now_us=now_us,
        ),
        leasing=Leasing(
            policies=policies,
            resolver=resolver,
            leases=books.leases,
            observer=evidence,  # a preview replays checks, and this is none
            now_us=now_us,
            new_randomness=_new_randomness,
        ),
        reserving=Reserving(
            policies=policies,
            resolver=resolver,
            store=store,
            reservations=reservations,
            observer=observer,
            now_us=now_us,
        ),
        ai_budgets=AiBudgets(
            policies=policies,
            resolver=resolver,
            store=store,
            reservations=reservations,
            usage=usage,
            observer=evidence,
            now_us=now_us,
            new_id=uuid4,
        ),
        ai_summary=AiUsageSummary(usage, now_us),
        analytics=analytics,
    )


def _new_randomness() -> bytes:
    return secrets.token_bytes(_RANDOM_BYTES)
