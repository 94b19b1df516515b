"""Puts the health service together: the only module that knows all its parts."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from services.health.http import http_app
from services.health.ports import Probe
from services.health.prober import Prober
from services.health.probes import GrpcProbe, PostgresProbe, RedisProbe
from services.health.rollup import Report, Target
from services.health.servicer import HealthServicer
from services.health.settings import HealthSettings
from services.health.snapshot import Snapshot
from services.health.state import Damping
from shared.http import HttpServer
from shared.processes import own_port
from shared.rpc.policy import MethodPolicy
from shared.service import Service

# Health always answers: it does not count against the limit of concurrent calls.
METHODS = {"GetReport": MethodPolicy(default_deadline=1.0, admission=False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthApp:
    """The parts that outlive the assembly: the service runs, the others are its insides."""

    service: Service
    prober: Prober
    http: HttpServer


def build(settings: HealthSettings) -> Service:
    """Return the service, ready to run."""
    return assemble(settings).service


def assemble(settings: HealthSettings) -> HealthApp:
    """Return the service and what tests want to see of it."""
    prober = _prober(settings, _probes(settings))
    service = Service(
        "health", settings, port=settings.health_port, ops_port=settings.health_ops_port
    )

    def report() -> Report:
        return prober.snapshot.report(time.monotonic())

    def obstacle() -> str:
        if not prober.snapshot.complete:
            return "The first round of probes is under way."
        return "" if service.serving else "This instance is starting or draining."

    retry_after = math.ceil(settings.health_probe_interval)
    app = http_app(report=report, obstacle=obstacle, retry_after=retry_after)
    port = settings.health_http_port
    http = HttpServer(
        "health", app, settings.host, own_port(port), setting="MAINSTAY_HEALTH_HTTP_PORT"
    )
    # Liveness is answered while the first round is still out.
    service.use(http)
    service.use(prober)
    service.expose(pb_grpc.add_HealthServiceServicer_to_server, HealthServicer(report), METHODS)
    service.background("prober", prober.run)
    return HealthApp(service=service, prober=prober, http=http)


def _probes(settings: HealthSettings) -> Mapping[str, Probe]:
    services = {
        "cache": settings.health_cache_address,
        "jobs": settings.health_jobs_address,
        "ratelimit": settings.health_ratelimit_address,
    }
    timeout = settings.health_probe_timeout
    return {
        **{name: GrpcProbe(address, timeout=timeout) for name, address in services.items()},
        "database": PostgresProbe(settings.postgres_url.get_secret_value()),
        "redis": RedisProbe(settings.redis_url.get_secret_value()),
    }


def _prober(settings: HealthSettings, probes: Mapping[str, Probe]) -> Prober:
    targets = tuple(Target(name=name, critical=name in settings.health_critical) for name in probes)
    damping = Damping(
        rise=settings.health_probe_rise,
        fall=settings.health_probe_fall,
        stale_after=settings.health_stale_periods * settings.health_probe_interval,
    )
    return Prober(
        probes,
        Snapshot.empty(targets, damping=damping, time=datetime.now(UTC)),
        interval=settings.health_probe_interval,
        timeout=settings.health_probe_timeout,
    )
