"""`mainstay jobs schemas`: what payloads of events have to look like."""

from typing import Annotated

import typer

from cli.asking import misused, sensible
from cli.console import console
from cli.documents import text
from cli.jobs import listing
from cli.jobs.options import HERE, DataDir, Json, Tenant, ask_jobs, every, json_object

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
# As the files of the service say it.
_NAME, _VERSION = "x-mainstay-event", "x-mainstay-version"


@app.callback()
def schemas() -> None:
    """Show the contracts of events, and add versions."""


@app.command(name="list")
def list_schemas(
    event: Annotated[str, typer.Argument(help="Only of this event.")] = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List the contracts of events; with --json the schemas themselves."""
    found = ask_jobs(lambda client: every(client.list_event_schemas(event)), tenant, data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.schemas(found))
    else:
        typer.echo("no such event schemas; `mainstay jobs schemas put` adds one")


@app.command()
def put(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Schema, 2020-12.")],
    event: Annotated[str, typer.Option(help=f"Default: {_NAME} of the file.")] = "",
    version: Annotated[int, typer.Option(min=0, help=f"Default: {_VERSION} of the file.")] = 0,
    breaking: Annotated[
        bool, typer.Option("--breaking", help="Though it refuses what the one before took.")
    ] = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Add a version of an event's contract; what is stored is never changed.

    The file may name the event and the version itself, as those of the service do.
    """
    schema = sensible(lambda: json_object(file if file == "-" else f"@{file}", "FILE"))
    name, number = event or schema.get(_NAME), version or schema.get(_VERSION)
    if not isinstance(name, str) or not isinstance(number, int):
        misused(f"{file} does not say {_NAME} and {_VERSION}; give --event and --version")
    stored = ask_jobs(
        lambda client: client.put_event_schema(name, number, schema, breaking=breaking),
        tenant,
        data_dir,
    )
    typer.echo(text(stored) if json else f"{stored.name} has version {stored.version}")
