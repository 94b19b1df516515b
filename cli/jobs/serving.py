"""`mainstay jobs functions` and `workers`: who does the jobs, and under which terms."""

from typing import Annotated

import typer

from cli.console import console
from cli.documents import text
from cli.jobs import declarations, listing
from cli.jobs.options import HERE, DataDir, Json, Tenant, ask_jobs, every, now


def functions(
    name: Annotated[str | None, typer.Argument(help="All that is known of this one.")] = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List the functions that workers have declared, or show one of them."""
    if name is not None:
        one = ask_jobs(lambda client: client.get_function(name), tenant, data_dir)
        if json:
            typer.echo(text(one))
        else:
            console().print(declarations.declaration(one))
        return
    found = ask_jobs(lambda client: every(client.list_functions()), tenant, data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(declarations.functions(found))
    else:
        typer.echo("no functions; workers declare them when they connect")


def workers(tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """List the workers that are connected, or were and may come back."""
    found = ask_jobs(lambda client: every(client.list_workers()), tenant, data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.workers(found, now()))
    else:
        typer.echo("no workers are connected")


def add_to(family: typer.Typer) -> None:
    """Hang these commands under `mainstay jobs`."""
    family.command()(functions)
    family.command()(workers)
