"""Errors about single jobs."""

from mainstay.errors import NotFoundError, PreconditionError
from services.jobs.job import Job, JobId
from shared.rpc.call import Tenant


def job_not_found(tenant: Tenant, job_id: JobId) -> NotFoundError:
    """Return the error for a job that does not exist, or is another tenant's."""
    return NotFoundError(
        f"job {job_id} does not exist in tenant {tenant}",
        resource_type="job",
        resource_name=str(job_id),
        reason="JOB_NOT_FOUND",
    )


def job_over(job: Job, what: str) -> PreconditionError:
    """Return the error for a job whose end makes something impossible."""
    return PreconditionError(f"job {job.job_id} is {job.state.value} and {what}", reason="JOB_OVER")
