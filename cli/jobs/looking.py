"""`mainstay jobs list`, `show`, `watch` and `explain`."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

import typer

from cli.arguments import length
from cli.asking import sensible
from cli.console import console
from cli.documents import text
from cli.jobs import filters, listing
from cli.jobs.options import (
    ENDED_BADLY,
    HERE,
    DataDir,
    JobId,
    Json,
    Most,
    Tenant,
    ask_jobs,
    cut,
    first,
    now,
)
from cli.jobs.story import explanation, story
from cli.jobs.watching import Display, Documents, Drawing, Lines
from mainstay.jobs import JobClient, JobState


def list_jobs(
    state: filters.States = None,
    function: filters.Function = "",
    event: filters.EventId = "",
    request_id: filters.RequestId = "",
    failure: filters.FailureKind = "",
    since: filters.Since = None,
    before: filters.Before = None,
    most: Most = 50,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List jobs, the newest first; those that have ended for 30 days."""
    wanted = sensible(
        lambda: filters.job_filter(
            states=state,
            function=function,
            event=event,
            request_id=request_id,
            failure=failure,
            since=since,
            before=before,
        )
    )
    found = ask_jobs(lambda client: first(client.list_jobs(wanted), most), tenant, data_dir)
    shown = cut(found, most)
    if json:
        typer.echo(text(shown))
    elif shown:
        console().print(listing.jobs(shown, now()))
    else:
        typer.echo("no such jobs")


def show(job: JobId, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Tell all that is known of a job, with its steps."""
    found = ask_jobs(lambda client: client.get_job(job), tenant, data_dir)
    if json:
        typer.echo(text(found))
        return
    screen = console()
    for part in story(found, now()):
        screen.print(part)


def watch(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Up to 1,000 ids.")],
    timeout: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Give up after: 90s, 1h30m.")
    ] = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Follow jobs until they have ended, whatever becomes of the connection.

    A terminal shows a line for each job that is drawn anew; a pipe or a file gets a line for
    each change, with --json the whole job. The exit status is 0 when all have succeeded, 3 when
    one has not, 1 when that could not be told and 2 for a command that makes no sense.
    """
    seconds = sensible(lambda: None if timeout is None else length(timeout, "--timeout"))
    display = _display(jobs, json=json)

    async def followed(client: JobClient) -> bool:
        well = True
        limit = None if seconds is None else seconds.total_seconds()
        with display.running():
            async with aclosing(client.watch_jobs(jobs, timeout=limit)) as states:
                async for each in states:
                    display.show(each)
                    well &= not each.state.ended or each.state is JobState.SUCCEEDED
        return well

    if not ask_jobs(followed, tenant, data_dir):
        raise typer.Exit(ENDED_BADLY)


def _display(jobs: Sequence[str], *, json: bool) -> Display:
    if json:
        return Documents()
    screen = console()
    return Drawing(screen, jobs) if screen.is_terminal else Lines(several=len(jobs) > 1)


def explain(
    job: JobId, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Tell why a job is not running, and what would have to happen for it to."""
    found = ask_jobs(lambda client: client.explain_job(job), tenant, data_dir)
    if json:
        typer.echo(text(found))
        return
    screen = console()
    for told in explanation(found, now()):
        screen.print(told, markup=False)


def add_to(family: typer.Typer) -> None:
    """Hang these commands under `mainstay jobs`."""
    family.command(name="list")(list_jobs)
    family.command()(show)
    family.command()(watch)
    family.command()(explain)
