"""Puts the jobs service together: the only module that knows all the parts."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from mainstay.context import new_request_id
from mainstay.jobs.v1 import job_service_pb2_grpc as job_grpc
from mainstay.jobs.v1 import worker_service_pb2_grpc as worker_grpc
from services.jobs.dispatcher import Dispatcher
from services.jobs.gauges import QueueGauges
from services.jobs.intake import EventIntake
from services.jobs.job import EventId
from services.jobs.peers import Peers
from services.jobs.postgres_claims import PostgresClaims
from services.jobs.postgres_events import PostgresEvents
from services.jobs.postgres_jobs import PostgresJobs
from services.jobs.postgres_notifications import PostgresNotifications
from services.jobs.postgres_reports import PostgresReports
from services.jobs.postgres_sessions import PostgresSessions
from services.jobs.rescuer import Rescuer
from services.jobs.schemas import load_schemas
from services.jobs.servicer import JOB_METHODS, WORKER_METHODS, JobServicer, WorkerServicer
from services.jobs.sessions import Sessions, Terms
from services.jobs.settings import JobsSettings
from services.jobs.streams import Streams
from services.jobs.wakeups import Wakeups
from services.jobs.watch import Watches
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Postgres
from shared.postgres.queries import load_queries
from shared.service import Service

MIGRATIONS = Migrations(service="jobs", package="services.jobs")
PLANNER = {
    # A statement that is planned while its tables are empty keeps its plan, sequential scans
    # included, until they are next analysed. Measured so, a claim among 100,000 jobs took over a
    # second; with indexes, for which every statement is written, two milliseconds.
    "enable_seqscan": "off",
    # Compiling takes longer than running any of them, and the planner's price for a scan without
    # alternative (`sessions` is small and has no index on what changes) would trigger it.
    "jit": "off",
}
"""How PostgreSQL plans this service's statements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """The adapters, over one pool."""

    postgres: Postgres
    queries: Mapping[str, str]


def build(settings: JobsSettings) -> Service:
    """Return the service, ready to run; raises ConfigurationError for broken event schemas."""
    schemas = load_schemas(settings.policies_dir / "events")
    service = Service("jobs", settings, port=settings.jobs_port, ops_port=settings.jobs_ops_port)
    postgres = service.use(
        Postgres(
            settings.postgres_url.get_secret_value(),
            migrations=MIGRATIONS,
            migrate=settings.postgres_migrate,
            max_size=settings.postgres_pool_size,
            session_settings=PLANNER,
        )
    )
    store = _Store(postgres=postgres, queries=load_queries("services.jobs", "sql/queries.sql"))
    wakeups = Wakeups()
    watches = _watching(service, settings, store, wakeups)
    sessions = _working(service, settings, store, wakeups, schemas.names)
    intake = EventIntake(
        schemas, PostgresEvents(store.postgres, store.queries), wakeups, _new_event_id
    )
    _telling(service, store, wakeups)
    service.expose(
        job_grpc.add_JobServiceServicer_to_server, JobServicer(intake, watches), JOB_METHODS
    )
    service.expose(
        worker_grpc.add_WorkerServiceServicer_to_server,
        WorkerServicer(sessions, hello_timeout=settings.jobs_hello_timeout),
        WORKER_METHODS,
    )
    return service


def _watching(service: Service, settings: JobsSettings, store: _Store, wakeups: Wakeups) -> Watches:
    jobs = PostgresJobs(store.postgres, store.queries)
    watches = Watches(
        jobs, wakeups, poll_interval=settings.jobs_poll_interval, random=random.random
    )
    service.background("watch", watches.run)
    service.background("gauges", QueueGauges(jobs).run)
    service.on_drain(watches.drain)
    return watches


def _working(
    service: Service, settings: JobsSettings, store: _Store, wakeups: Wakeups, events: list[str]
) -> Sessions:
    claims = PostgresClaims(store.postgres, store.queries)
    streams = Streams()
    rescuer = Rescuer(
        store=claims,
        wakeups=wakeups,
        max_crashes=settings.jobs_max_crashes,
        grace=settings.jobs_resume_window,
        random=random.random,
    )
    sessions = service.use(
        Sessions(
            sessions=PostgresSessions(store.postgres, store.queries),
            reports=PostgresReports(store.postgres, store.queries, random.random),
            streams=streams,
            wakeups=wakeups,
            events=events,
            terms=_terms(settings),
            clock=time.monotonic,
            # Random, not ordered in time: whoever knows a session's id can speak for its jobs.
            new_id=uuid4,
            on_leave=rescuer.look_again,
        )
    )
    dispatcher = Dispatcher(
        store=claims,
        streams=streams,
        sessions=sessions,
        wakeups=wakeups,
        poll_interval=settings.jobs_poll_interval,
        clock=time.monotonic,
        random=random.random,
    )
    service.background("dispatcher", dispatcher.run)
    service.background("rescuer", rescuer.run)
    service.on_drain(sessions.drain)
    return sessions


def _terms(settings: JobsSettings) -> Terms:
    return Terms(
        lease=settings.jobs_session_lease,
        heartbeat_interval=settings.jobs_heartbeat_interval,
        resume_window=settings.jobs_resume_window,
    )


def _telling(service: Service, store: _Store, wakeups: Wakeups) -> None:
    notifications = PostgresNotifications(store.postgres, store.queries)
    peers = Peers(notifications, wakeups, replica=uuid4().hex[:12])
    service.background("peers.tell", peers.tell)
    service.background("peers.listen", peers.listen)


def _new_event_id() -> EventId:
    return EventId(UUID(new_request_id()))
