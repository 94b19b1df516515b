"""`mainstay jobs queues`: the lines in which jobs wait, one for each function."""

from typing import Annotated

import typer

from cli.console import console
from cli.documents import text
from cli.jobs import listing
from cli.jobs.options import HERE, DataDir, Json, Tenant, ask_jobs, every
from mainstay.jobs import Queue

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Name = Annotated[str, typer.Argument(help="The function whose queue it is.")]


@app.callback()
def queues() -> None:
    """Show queues, hold them back and let them go on."""


@app.command(name="list")
def list_queues(tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """List queues with their depths, ages and rates.

    Of each: jobs that could start now and how old the oldest of them is, that wait for their
    time (later), that run, that wait for something, and dead letters; jobs that came and ended
    in the last minute, per second; and workers that serve it.
    """
    found = ask_jobs(lambda client: every(client.list_queues()), tenant, data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.queues(found))
    else:
        typer.echo("no queues; a function has one as soon as a worker has declared it")


@app.command()
def pause(name: Name, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Hold back the jobs of a queue; those that run go on. `--tenant "*"`: those of all tenants."""
    _tell(ask_jobs(lambda client: client.pause_queue(name), tenant, data_dir), json=json)


@app.command()
def resume(name: Name, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Let the jobs of a queue start again; `--tenant "*"` ends what held back those of all."""
    _tell(ask_jobs(lambda client: client.resume_queue(name), tenant, data_dir), json=json)


def _tell(queue: Queue, *, json: bool) -> None:
    if json:
        typer.echo(text(queue))
        return
    state = "is paused" if queue.paused else "goes on"
    typer.echo(f"{queue.name} {state}: {queue.ready:,} ready, {queue.running:,} running")
