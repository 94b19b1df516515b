"""The workers' side of the service, put together."""

import random
import time
from functools import partial
from uuid import uuid4

from services.jobs.directives import Directives
from services.jobs.dispatcher import Dispatcher
from services.jobs.fairness import Fairness
from services.jobs.permits import Permits
from services.jobs.polling import Polling
from services.jobs.postgres_claims import PostgresClaims
from services.jobs.postgres_reports import PostgresReports
from services.jobs.postgres_rescue import PostgresRescue
from services.jobs.postgres_sessions import PostgresSessions
from services.jobs.postgres_timers import PostgresTimers
from services.jobs.schema_book import SchemaBook
from services.jobs.serving_workers import WorkerServicer
from services.jobs.sessions import Sessions
from services.jobs.settings import JobsSettings
from services.jobs.streams import Streams
from services.jobs.terms import Terms
from services.jobs.timers import Tempo, Timers
from services.jobs.wakeups import Wakeups
from services.jobs.weights_file import WeightsFile
from shared.postgres.pool import Postgres
from shared.service import Service


def serve_workers(
    service: Service,
    settings: JobsSettings,
    postgres: Postgres,
    wakeups: Wakeups,
    book: SchemaBook,
    permits: Permits,
) -> WorkerServicer:
    """Return the servicer for workers; `service` keeps what it stands on."""
    claims = PostgresClaims(postgres)
    streams = Streams()
    timed = PostgresTimers(postgres, random.random)
    timers = Timers(
        store=timed,
        rescue=PostgresRescue(postgres, random.random),
        wakeups=wakeups,
        tempo=Tempo(max_crashes=settings.jobs_max_crashes, grace=settings.jobs_resume_window),
        clock=time.monotonic,
        random=random.random,
    )
    sessions = service.use(
        Sessions(
            sessions=PostgresSessions(postgres, random.random),
            reports=PostgresReports(postgres, random.random),
            streams=streams,
            wakeups=wakeups,
            events=book,
            terms=_terms(settings),
            clock=time.monotonic,
            # Random, not ordered in time: whoever knows a session's id can speak for its jobs.
            new_id=uuid4,
            on_leave=timers.look_again,
        )
    )
    dispatcher = Dispatcher(
        store=claims,
        streams=streams,
        sessions=sessions,
        wakeups=wakeups,
        fairness=_fairness(service, settings),
        permits=permits,
        poll_interval=settings.jobs_poll_interval,
        clock=time.monotonic,
        random=random.random,
    )
    service.background("dispatcher", dispatcher.run)
    service.background("timers", timers.run)
    service.background("directives", Directives(timed, streams, wakeups).run)
    service.on_drain(sessions.drain)
    return WorkerServicer(
        sessions, Polling(sessions, timed), hello_timeout=settings.jobs_hello_timeout
    )


def _fairness(service: Service, settings: JobsSettings) -> Fairness:
    weights = WeightsFile(
        settings.policies_dir / "jobs.yaml", report=partial(service.report_condition, "jobs_policy")
    )
    service.background("policy", weights.watch)
    return Fairness(weights.of)


def _terms(settings: JobsSettings) -> Terms:
    return Terms(
        lease=settings.jobs_session_lease,
        heartbeat_interval=settings.jobs_heartbeat_interval,
        resume_window=settings.jobs_resume_window,
        hang_timeout=settings.jobs_hang_timeout,
    )
