"""PostgreSQL as this service uses it."""

from services.jobs.settings import JobsSettings
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Postgres

MIGRATIONS = Migrations(service="jobs", package="services.jobs")
PLANNER = {
    # A statement that is planned while its tables are empty keeps its plan, sequential scans
    # included, until they are next analysed. Measured so, a claim among 100,000 jobs took over a
    # second; with indexes, for which every statement is written, two milliseconds.
    "enable_seqscan": "off",
    # For the same reason: a scan in the order of an index, up to a limit, became one of everything
    # that would have fitted, sorted.
    "enable_bitmapscan": "off",
    # Compiling takes longer than running any of them, and the planner's price for a scan without
    # alternative (`sessions` is small and has no index on what changes) would trigger it.
    "jit": "off",
    # Every statement has one plan that is good for all values. To look each time for a better one
    # took a claim of a single job longer than all the rest of it.
    "plan_cache_mode": "force_generic_plan",
}
"""How PostgreSQL plans this service's statements."""


def connect(settings: JobsSettings) -> Postgres:
    """Return the pool of the service."""
    return Postgres(
        settings.postgres_url.get_secret_value(),
        migrations=MIGRATIONS,
        migrate=settings.postgres_migrate,
        max_size=settings.postgres_pool_size,
        session_settings=PLANNER,
    )
