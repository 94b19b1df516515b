"""Puts the jobs service together: the only module that knows all the parts."""

import os
import random
import time
from uuid import uuid4

from asyncpg.pgproto import pgproto

from mainstay.context import new_request_id
from mainstay.jobs.v1 import job_service_pb2_grpc as job_grpc
from mainstay.jobs.v1 import worker_service_pb2_grpc as worker_grpc
from services.jobs import serving_workers
from services.jobs.database import connect
from services.jobs.gauges import QueueGauges
from services.jobs.group_commit import GroupCommit
from services.jobs.ids import OrderedIds
from services.jobs.intake import EventIntake
from services.jobs.job import EventId, JobId
from services.jobs.maintenance import Maintenance
from services.jobs.maintenance_worker import MaintenanceWorker
from services.jobs.peers import Peers
from services.jobs.permits import NoRateLimits, Permits
from services.jobs.postgres_events import PostgresEvents
from services.jobs.postgres_jobs import PostgresJobs
from services.jobs.postgres_listing import PostgresListing
from services.jobs.postgres_maintenance import PostgresMaintenance
from services.jobs.postgres_notifications import PostgresNotifications
from services.jobs.postgres_queues import PostgresQueues
from services.jobs.postgres_schedules import PostgresSchedules
from services.jobs.postgres_schemas import PostgresSchemas
from services.jobs.postgres_steering import PostgresSteering
from services.jobs.queues import Queues
from services.jobs.ratelimit_permits import RateLimitPermits
from services.jobs.scheduling import Scheduling
from services.jobs.schema_book import SchemaBook
from services.jobs.schema_putting import SchemaPutting
from services.jobs.schemas import load_schemas
from services.jobs.servicer import METHODS, JobServicer
from services.jobs.settings import JobsSettings
from services.jobs.steering import Steering
from services.jobs.wakeups import Wakeups
from services.jobs.watch import Watches
from services.jobs.workers_side import serve_workers
from shared.outgoing import credentials_to
from shared.postgres.pool import Postgres
from shared.service import Service


def build(settings: JobsSettings) -> Service:
    """Return the service, ready to run; raises ConfigurationError for broken event schemas."""
    schemas = load_schemas(settings.policies_dir / "events")
    service = Service("jobs", settings, port=settings.jobs_port, ops_port=settings.jobs_ops_port)
    postgres = service.use(connect(settings))
    wakeups = Wakeups()
    watches = _watching(service, settings, postgres, wakeups)
    steering = Steering(PostgresSteering(postgres), PostgresJobs(postgres), wakeups)
    permits = _permits(service, settings, wakeups)
    schema_store = PostgresSchemas(postgres)
    book = SchemaBook(schemas, schema_store, time.monotonic)
    intake = _accepting(service, postgres, wakeups, book)
    scheduling = _scheduling(service, settings, postgres, intake, steering)
    _telling(service, postgres, wakeups)
    gauges = QueueGauges(PostgresQueues(postgres), service.report_condition)
    service.background("gauges", gauges.run)
    service.expose(
        job_grpc.add_JobServiceServicer_to_server,
        JobServicer(
            intake=intake,
            watches=watches,
            listing=PostgresListing(postgres),
            steering=steering,
            scheduling=scheduling,
            queues=Queues(PostgresQueues(postgres), wakeups, watches.get, permits.denied_for),
            gauges=gauges,
            schema_book=book,
            schema_putting=SchemaPutting(book, schema_store),
        ),
        METHODS,
    )
    service.expose(
        worker_grpc.add_WorkerServiceServicer_to_server,
        serve_workers(service, settings, postgres, wakeups, book, permits),
        serving_workers.METHODS,
    )
    return service


def _accepting(
    service: Service, postgres: Postgres, wakeups: Wakeups, book: SchemaBook
) -> EventIntake:
    # asyncpg's own ids: it makes, sends and prints them in a fraction of the time.
    ids = OrderedIds(time.time_ns, os.urandom, pgproto.UUID)
    events = PostgresEvents(postgres, lambda: JobId(ids.next()))
    commits = service.use(GroupCommit(events, wakeups))
    return EventIntake(book, commits, events, lambda: EventId(ids.next()))


def _watching(
    service: Service, settings: JobsSettings, postgres: Postgres, wakeups: Wakeups
) -> Watches:
    watches = Watches(
        PostgresJobs(postgres),
        wakeups,
        poll_interval=settings.jobs_poll_interval,
        random=random.random,
    )
    service.background("watch", watches.run)
    service.background("watch.reads", watches.read)
    service.on_drain(watches.drain)
    return watches


def _scheduling(
    service: Service,
    settings: JobsSettings,
    postgres: Postgres,
    intake: EventIntake,
    steering: Steering,
) -> Scheduling:
    store = PostgresSchedules(postgres)
    scheduling = Scheduling(store, intake, new_request_id)
    service.background("schedules", scheduling.run)
    maintenance = Maintenance(
        PostgresMaintenance(postgres), steering.discard, history_days=settings.jobs_history_days
    )
    worker = MaintenanceWorker(lambda: service.address, maintenance, store)
    if settings.jobs_maintenance:
        service.background("maintenance", worker.run)
        service.on_drain(worker.drain)
    return scheduling


def _permits(service: Service, settings: JobsSettings, wakeups: Wakeups) -> Permits:
    target = settings.jobs_ratelimit_address
    limits = (
        service.use(RateLimitPermits(target, credentials_to(target, settings)))
        if target
        else NoRateLimits()
    )
    permits = Permits(limits, wakeups, clock=time.monotonic, report=service.report_condition)
    service.background("permits", permits.run)
    return permits


def _telling(service: Service, postgres: Postgres, wakeups: Wakeups) -> None:
    notifications = PostgresNotifications(postgres)
    peers = Peers(notifications, wakeups, replica=uuid4().hex[:12])
    service.background("peers.tell", peers.tell)
    service.background("peers.listen", peers.listen)
