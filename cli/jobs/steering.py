"""`mainstay jobs retry`, `cancel` and `signal`."""

from typing import Annotated

import typer

from cli.asking import sensible
from cli.documents import text
from cli.jobs.options import HERE, DataDir, JobId, Json, Tenant, ask_jobs, now, payload
from cli.jobs.sentences import standing
from mainstay.jobs import Job


def retry(job: JobId, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Give a dead letter new attempts; what its steps have done is kept."""
    _tell(ask_jobs(lambda client: client.retry_job(job), tenant, data_dir), json=json)


def cancel(
    job: JobId,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Undo its finished steps first.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it.")] = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """End a job, and those that it has invoked.

    One that no worker has ends at once; a worker is told and has 30 s to comply.
    """
    done = ask_jobs(
        lambda client: client.cancel_job(job, rollback=rollback, reason=reason), tenant, data_dir
    )
    _tell(done, json=json)


def signal(
    job: JobId,
    name: Annotated[str, typer.Argument(help="The signal, such as approved.")],
    data: Annotated[
        str, typer.Argument(metavar="[DATA|@FILE|-]", help="Any JSON; - reads it from stdin.")
    ] = "null",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
) -> None:
    """Send a signal to a job; it is kept until a step waits for it."""
    value = sensible(lambda: payload(data))
    ask_jobs(lambda client: client.signal_job(job, name, value), tenant, data_dir)
    typer.echo(f"{job} has the signal {name}")


def _tell(job: Job, *, json: bool) -> None:
    typer.echo(text(job) if json else f"{job.job_id} ({job.function}): {standing(job, now())}")


def add_to(family: typer.Typer) -> None:
    """Hang these commands under `mainstay jobs`."""
    family.command()(retry)
    family.command()(cancel)
    family.command()(signal)
