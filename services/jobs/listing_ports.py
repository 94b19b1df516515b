"""What lists of jobs need of their store."""

from typing import Protocol

from services.jobs.job import JobId
from services.jobs.job_filter import JobFilter, JobPage
from shared.rpc.call import Tenant


class ListingStore(Protocol):
    """Lists jobs without their steps; raises DatabaseError when the database cannot be used."""

    async def list_jobs(
        self, tenant: Tenant, wanted: JobFilter, *, below: JobId, size: int
    ) -> JobPage:
        """Return up to `size` jobs that fit, with ids below the one given."""
        ...

    async def list_dead_letters(
        self, tenant: Tenant, wanted: JobFilter, *, below: JobId, size: int
    ) -> JobPage:
        """Return up to `size` dead letters that fit, whatever states are wanted."""
        ...
