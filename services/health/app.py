"""Puts the health service together: the only module that knows all its parts."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from services.health.agent import AgentServer
from services.health.changes import Changes
from services.health.database import Database, history_postgres
from services.health.details import details_for
from services.health.discovery import Discovery
from services.health.history_book import HistoryBook
from services.health.http import Desk, http_app
from services.health.instance import Instance
from services.health.latencies import Latencies
from services.health.maintenance_book import MaintenanceBook
from services.health.observer import observer_name
from services.health.page import page_routes
from services.health.page_board import Sources
from services.health.postgres_history import PostgresHistory
from services.health.postgres_maintenance import PostgresMaintenance
from services.health.postgres_records import PostgresRecords
from services.health.probe_grpc import GrpcProbe
from services.health.prober import Prober
from services.health.recent import Recent
from services.health.recorder import Recorder
from services.health.retention import Retention
from services.health.servicer import METHODS, HealthServicer
from services.health.settings import HealthSettings
from services.health.snapshot import Snapshot
from services.health.state import Damping
from services.health.target import SUITE
from services.health.targets import (
    build_targets,
    credentials_for,
    services_of,
    under_its_name,
)
from services.health.verdicts import Verdicts
from services.health.webhook_options import parse_secrets, parse_urls
from services.health.webhooks import Webhooks
from shared.http import HttpServer
from shared.processes import own_port
from shared.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthApp:
    """The parts that outlive the assembly: the service runs, the others are its insides."""

    service: Service
    prober: Prober
    changes: Changes
    http: HttpServer
    past: "Past"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What remembers how targets were."""

    database: Database
    history: PostgresHistory
    recorder: Recorder
    book: HistoryBook
    latencies: Latencies


def build(settings: HealthSettings) -> Service:
    """Return the service, ready to run."""
    return assemble(settings).service


def assemble(settings: HealthSettings) -> HealthApp:
    """Return the service and what tests want to see of it."""
    service = Service(
        "health", settings, port=settings.health_port, ops_port=settings.health_ops_port
    )
    prober = _prober(settings)
    recent = Recent(prober.report, lambda: prober.snapshot)
    # Who is told of a change must not find an older report: all read the same ones.
    changes = Changes(recent.report)
    prober.listen(lambda _: changes.learned())
    verdicts = Verdicts(recent.report, groups=settings.health_groups, floor=settings.health_floor)
    past = _past(settings, prober)
    # Liveness is answered while the first round is still out.
    http = _serve_pollers(service, settings, prober, changes, verdicts, past)
    _probe(service, settings, prober, changes)
    maintaining = _remember(service, prober, changes, past)
    _tell(service, settings, changes, verdicts)
    service.expose(
        pb_grpc.add_HealthServiceServicer_to_server,
        HealthServicer(
            report=recent.report,
            changes=changes,
            verdict=verdicts.of,
            instance=_instance(service, prober).obstacle,
            history=past.history,
            maintaining=maintaining,
            now=lambda: datetime.now(UTC),
        ),
        METHODS,
    )
    return HealthApp(service=service, prober=prober, changes=changes, http=http, past=past)


def _prober(settings: HealthSettings) -> Prober:
    targets, probes = build_targets(settings)
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


def _past(settings: HealthSettings, prober: Prober) -> Past:
    url = settings.postgres_url.get_secret_value()
    database = Database(history_postgres(url, migrate=settings.postgres_migrate))
    history = PostgresHistory(database)
    records = PostgresRecords(database, observer_name(settings.health_instance))

    def service_of(name: str) -> str:
        target = prober.snapshot.probed.get(name)
        return target.service or name if target else name

    return Past(
        database=database,
        history=history,
        recorder=Recorder(records, prober.report, service_of=service_of),
        book=HistoryBook(history, lambda: (*prober.snapshot.targets, SUITE)),
        latencies=Latencies(service_of=service_of),
    )


def _instance(service: Service, prober: Prober) -> Instance:
    return Instance(
        started=lambda: service.started,
        serving=lambda: service.serving,
        snapshot=lambda: prober.snapshot,
    )


def _serve_pollers(
    service: Service,
    settings: HealthSettings,
    prober: Prober,
    changes: Changes,
    verdicts: Verdicts,
    past: Past,
) -> HttpServer:
    instance = _instance(service, prober)
    details = details_for(settings.health_details_token, service.http_gate)
    desk = Desk(
        report=verdicts.report,
        verdict=verdicts.of,
        instance=instance,
        details=details,
        retry_after=math.ceil(settings.health_probe_interval),
        drain_status=settings.health_drain_status,
    )
    page = page_routes(
        Sources(
            report=prober.report,
            histories=lambda: past.book.current,
            incidents=lambda: past.book.incidents,
            latencies=past.latencies.of,
        ),
        changes,
        sees_details=details,
    )
    http = HttpServer(
        "health",
        http_app(desk, extra=page),
        settings.host,
        own_port(settings.health_http_port),
        setting="MAINSTAY_HEALTH_HTTP_PORT",
        tls=service.http_tls,
    )
    service.use(http)
    if settings.health_agent_port is not None:
        port = own_port(settings.health_agent_port)
        service.use(AgentServer(verdicts.of, instance, host=settings.host, port=port))
    return http


def _probe(service: Service, settings: HealthSettings, prober: Prober, changes: Changes) -> None:
    credentials = credentials_for(settings)
    discovery = Discovery(
        prober,
        services_of(settings),
        lambda address: GrpcProbe(
            str(address),
            timeout=settings.health_probe_timeout,
            credentials=under_its_name(credentials, address),
        ),
        interval=settings.health_resolve_interval,
    )
    service.use(discovery)
    service.use(prober)
    service.background("discovery", discovery.run)
    service.background("prober", prober.run)
    service.background("changes", changes.run)
    service.on_drain(changes.drain)


def _remember(service: Service, prober: Prober, changes: Changes, past: Past) -> MaintenanceBook:
    prober.listen(past.latencies.noticed)
    prober.listen(past.recorder.noticed)
    changes.listen(past.recorder.changed)
    service.use(past.database)
    service.use(past.recorder)
    maintaining = service.use(MaintenanceBook(PostgresMaintenance(past.database), prober))
    service.background("database", past.database.run_connecting)
    service.background("recorder", past.recorder.run)
    service.background("history", past.book.run)
    service.background("maintenance", maintaining.run)
    service.background("retention", Retention(past.database).run)
    return maintaining


def _tell(service: Service, settings: HealthSettings, changes: Changes, verdicts: Verdicts) -> None:
    urls, secret = settings.health_webhook_urls, settings.health_webhook_secret
    webhooks = Webhooks(
        parse_urls(urls.get_secret_value()) if urls else (),
        parse_secrets(secret.get_secret_value()) if secret else (),
        debounce=settings.health_webhook_debounce,
    )
    changes.listen(webhooks.changed)
    service.use(webhooks)
    service.background("webhooks", webhooks.run)
    look_again = service.answer_health_for(verdicts)
    changes.listen(lambda _before, _after: look_again())
