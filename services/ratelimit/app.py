"""The composition root of the rate limits: with `foundation` the only one that knows all parts."""

import secrets
from typing import NamedTuple
from uuid import uuid4

from mainstay.envoy.ratelimit.v3 import rls_pb2_grpc
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit import foundation, serving_envoy
from services.ratelimit.ai_usage import AiBudgets
from services.ratelimit.ai_usage_summary import AiUsageSummary
from services.ratelimit.analytics import Analytics
from services.ratelimit.envoy_limiting import EnvoyLimiting
from services.ratelimit.evidence import Evidence, current_request_id
from services.ratelimit.explaining import Explaining
from services.ratelimit.foundation import Counting, Deciding
from services.ratelimit.leasing import Leasing
from services.ratelimit.limiter import Limiter
from services.ratelimit.listing import Listing
from services.ratelimit.membership_worker import MembershipWorker
from services.ratelimit.observing import Observers
from services.ratelimit.overriding import Overriding
from services.ratelimit.policy_reading import PolicyReading
from services.ratelimit.policy_versions import PolicyVersions
from services.ratelimit.postgres_ai_usage import PostgresAiUsage
from services.ratelimit.postgres_analytics import PostgresAnalytics
from services.ratelimit.postgres_evidence import PostgresEvidence
from services.ratelimit.postgres_violations import PostgresViolations
from services.ratelimit.previewing import Previewing
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.redis_top import RedisTop
from services.ratelimit.redis_traffic import RedisTraffic, TrafficRecorder
from services.ratelimit.reserving import Reserving
from services.ratelimit.resetting import Resetting
from services.ratelimit.servicer import METHODS, RateLimitServicer
from services.ratelimit.settings import RateLimitSettings
from shared.service import Service

_RANDOM_BYTES = 16


class _Observing(NamedTuple):
    """Who takes note of decisions.

    Attributes:
        checks: Of checks, which a preview replays; what is none is for `evidence` alone.

    """

    checks: Observers
    evidence: Evidence
    analytics: Analytics
    recorder: TrafficRecorder


def build(settings: RateLimitSettings) -> Service:
    """Return the service, not yet started; a wrong policy file raises ConfigurationError."""
    service = Service(
        "ratelimit",
        settings,
        port=settings.ratelimit_port,
        ops_port=settings.ratelimit_ops_port,
    )
    database = foundation.connect(service, settings)
    counting = foundation.count(service, settings)
    deciding = foundation.decide(service, settings, database, counting)
    observing = _observing(service, counting, deciding)
    limiter = Limiter(
        policies=deciding.policies,
        resolver=deciding.resolver,
        store=counting.store,
        observer=observing.checks,
        now_us=counting.clock.now_us,
    )
    service.expose(
        pb_grpc.add_RateLimitServiceServicer_to_server,
        _servicer(service, counting, deciding, observing, limiter),
        methods=METHODS,
    )
    envoy = EnvoyLimiting(
        policies=deciding.policies,
        resolver=deciding.resolver,
        limiter=limiter,
        store=counting.store,
        observer=observing.checks,
    )
    service.expose(
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server,
        serving_envoy.EnvoyServicer(envoy),
        methods=serving_envoy.METHODS,
    )
    # Where no plan can be kept, the event must not be taken and lost.
    if settings.ratelimit_jobs_address and database.present:
        worker = MembershipWorker(settings.ratelimit_jobs_address, deciding.plans)
        service.on_drain(worker.drain)
        service.background("ratelimit-memberships", worker.run)
    return service


def _observing(service: Service, counting: Counting, deciding: Deciding) -> _Observing:
    """Keep what was decided, and let it be asked for."""
    now_us = counting.clock.now_us
    keeper = service.use(PostgresEvidence(deciding.database, now_us))
    top = RedisTop(counting.redis, now_us, replica=counting.replica)
    evidence = Evidence(
        policies=deciding.policies, keeper=keeper, top=top, request_id=current_request_id
    )
    recorder = TrafficRecorder(counting.redis, deciding.directory)
    service.background("ratelimit-evidence", evidence.run)
    service.background("ratelimit-evidence-writer", keeper.run)
    service.background("ratelimit-most-limited", top.run)
    service.background("ratelimit-traffic", recorder.run)
    analytics = Analytics(
        violations=PostgresViolations(deciding.database),
        figures=PostgresAnalytics(deciding.database),
        top=top,
        recent=evidence,
        now_us=now_us,
    )
    return _Observing(Observers((evidence, recorder)), evidence, analytics, recorder)


def _servicer(
    service: Service,
    counting: Counting,
    deciding: Deciding,
    observing: _Observing,
    limiter: Limiter,
) -> RateLimitServicer:
    policies, resolver, now_us = deciding.policies, deciding.resolver, counting.clock.now_us
    store, reading = counting.store, PolicyReading()
    reservations = RedisReservations(counting.redis, new_randomness=_new_randomness)
    usage = service.use(PostgresAiUsage(deciding.database))
    service.background("ratelimit-ai-usage", usage.run)
    return RateLimitServicer(
        limiter=limiter,
        explaining=Explaining(
            policies=policies, resolver=resolver, store=store, places=counting.leases
        ),
        resetting=Resetting(
            policies=policies, store=store, leases=counting.leases, database=deciding.database
        ),
        plans=deciding.plans,
        overriding=Overriding(
            policies=policies,
            store=deciding.stored_overrides,
            announcement=deciding.revisions,
            now_us=now_us,
        ),
        listing=Listing(policies),
        policy_versions=PolicyVersions(deciding.versions, policies, reading),
        previewing=Previewing(
            policies=policies,
            reading=reading,
            traffic=RedisTraffic(counting.redis, now_us),
            overrides=deciding.overrides,
            write_recent=observing.recorder.run_once,
            now_us=now_us,
        ),
        leasing=Leasing(
            policies=policies,
            resolver=resolver,
            leases=counting.leases,
            observer=observing.evidence,
            now_us=now_us,
            new_randomness=_new_randomness,
        ),
        reserving=Reserving(
            policies=policies,
            resolver=resolver,
            store=store,
            reservations=reservations,
            observer=observing.checks,
            now_us=now_us,
        ),
        ai_budgets=AiBudgets(
            policies=policies,
            resolver=resolver,
            store=store,
            reservations=reservations,
            usage=usage,
            observer=observing.evidence,
            now_us=now_us,
            new_id=uuid4,
        ),
        ai_summary=AiUsageSummary(usage, now_us),
        analytics=observing.analytics,
    )


def _new_randomness() -> bytes:
    return secrets.token_bytes(_RANDOM_BYTES)
