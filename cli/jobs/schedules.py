"""`mainstay jobs schedules`: what starts by the clock."""

from typing import Annotated

import typer

from cli.asking import misused, sensible
from cli.console import console
from cli.documents import text
from cli.jobs import listing
from cli.jobs.options import HERE, DataDir, Json, Tenant, ask_jobs, every, json_object, now
from cli.jobs.sentences import until
from cli.wording import moment
from mainstay.jobs import CatchUp, Schedule

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Name = Annotated[str, typer.Argument(help="Its name.")]
_CATCH_UP = {way.value: way for way in CatchUp if way is not CatchUp.UNKNOWN}


@app.callback()
def schedules() -> None:
    """Show and change what starts by the clock."""


@app.command(name="list")
def list_schedules(tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """List schedules with what they start, and when the next tick is."""
    found = ask_jobs(lambda client: every(client.list_schedules()), tenant, data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.schedules(found, now()))
    else:
        typer.echo("no schedules")


@app.command()
def put(
    name: Annotated[str, typer.Argument(help="Its name; one of that name is replaced.")],
    cron: Annotated[str, typer.Argument(help="Five fields as in crontab(5): '0 3 * * 1-5'.")],
    event: Annotated[str, typer.Option(help="The event to send.")] = "",
    function: Annotated[str, typer.Option(help="The function to enqueue.")] = "",
    data: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE|-", help="The payload; {tick} and {date} in it are filled in."
        ),
    ] = "{}",
    time_zone: Annotated[str, typer.Option(help="An IANA time zone.")] = "UTC",
    catch_up: Annotated[
        str, typer.Option(metavar="|".join(_CATCH_UP), help="Of ticks that were missed.")
    ] = CatchUp.LATEST.value,
    paused: Annotated[bool, typer.Option("--paused", help="Without ticks for now.")] = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Create a schedule or replace it; give one of --event and --function."""
    if bool(event) == bool(function):
        misused("give one of --event and --function")
    if catch_up not in _CATCH_UP:
        misused(f"--catch-up {catch_up!r} is none; there are {', '.join(_CATCH_UP)}")
    value = sensible(lambda: json_object(data, "--data"))
    stored = ask_jobs(
        lambda client: client.put_schedule(
            name,
            cron,
            event=event,
            function=function,
            data=value,
            time_zone=time_zone,
            catch_up=_CATCH_UP[catch_up],
            paused=paused,
        ),
        tenant,
        data_dir,
    )
    _tell(stored, json=json)


@app.command()
def pause(name: Name, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Stop the ticks of a schedule; those that pass meanwhile are not caught up."""
    _tell(ask_jobs(lambda client: client.pause_schedule(name), tenant, data_dir), json=json)


@app.command()
def resume(name: Name, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Let a schedule tick again."""
    _tell(ask_jobs(lambda client: client.resume_schedule(name), tenant, data_dir), json=json)


@app.command()
def delete(name: Name, tenant: Tenant = None, data_dir: DataDir = HERE) -> None:
    """Delete a schedule; jobs that it has started go on."""
    ask_jobs(lambda client: client.delete_schedule(name), tenant, data_dir)
    typer.echo(f"{name} is deleted; jobs that it has started go on")


def _tell(schedule: Schedule, *, json: bool) -> None:
    if json:
        typer.echo(text(schedule))
        return
    starts = listing.started(schedule)
    if schedule.next_time is None:
        typer.echo(f"{schedule.name} is paused; it does not start {starts}")
        return
    due = f"{moment(schedule.next_time)}, {until(schedule.next_time, now())}"
    typer.echo(f"{schedule.name} starts {starts} next at {due}")
