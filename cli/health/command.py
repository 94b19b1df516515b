"""`mainstay health`: report, explain, history, watch, maintenance."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.arguments import length
from cli.asking import DENIED, Service, ask, sensible
from cli.console import console
from cli.documents import text
from cli.health import listing
from cli.wording import moment
from mainstay.channel import Channel
from mainstay.health import HealthClient, Mode, Report, State

HEALTH = Service(name="health", called="the health service", answers="does")
HERE = Path(".mainstay")

T = TypeVar("T")

Target = Annotated[str, typer.Argument(help="A target such as jobs. Default: the whole.")]
Named = Annotated[str, typer.Argument(help="A target, a replica, or suite for the whole.")]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def health() -> None:
    """Look at how the suite is, why, and how it was; take parts out of service on purpose.

    Asks the service at MAINSTAY_HEALTH_ADDRESS, or that of the suite that `mainstay up` runs.
    The exit status is 1 for a failure and 2 for a command that makes no sense.
    """


@app.command()
def report(data_dir: DataDir = HERE, json: Json = False) -> None:
    """Say how everything is.

    The exit status is 0 while the suite takes traffic (healthy, degraded) and 3 while it does not.
    """
    found = ask_health(lambda client: client.get_report(), data_dir)
    _tell(found, json=json)
    if found.state not in {State.HEALTHY, State.DEGRADED}:
        raise typer.Exit(DENIED)


@app.command()
def watch(data_dir: DataDir = HERE, json: Json = False) -> None:
    """Print the report now and after every change, until Ctrl-C."""

    async def follow(client: HealthClient) -> None:
        async with aclosing(client.watch_report()) as reports:
            async for found in reports:
                _tell(found, json=json)

    ask_health(follow, data_dir)


@app.command()
def explain(target: Target = "", data_dir: DataDir = HERE, json: Json = False) -> None:
    """Say why a target is as it is: what it is down to, and who else is hit."""
    found = ask_health(lambda client: client.explain(target), data_dir)
    if json:
        typer.echo(text(found))
    else:
        console().print(listing.explanation(found))


@app.command()
def history(
    target: Target = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many incidents.")] = 20,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Say how a target was: uptime over five spans, error budget, incidents."""
    found = ask_health(lambda client: client.get_history(target, page_size=limit), data_dir)
    if json:
        typer.echo(text(found))
        return
    console().print(listing.history(found))
    if found.incidents:
        console().print()
        console().print(listing.incidents(found.incidents, datetime.now(UTC)))


maintenance = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(maintenance, name="maintenance")


@maintenance.callback()
def maintaining() -> None:
    """Take a target out of service on purpose, or back: balancers stop sending it traffic."""


@maintenance.command()
def begin(
    target: Named,
    reason: Annotated[str, typer.Option(help="Why; people will read it.")],
    duration: Annotated[str, typer.Option("--for", help="How long at most: 30m, 2h.")],
    drain: Annotated[
        bool, typer.Option("--drain", help="Let it finish what it has; send nothing new.")
    ] = False,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Take a target out of service; it comes back by itself when the time is over."""
    span = sensible(lambda: length(duration, "--for"))
    mode = Mode.DRAIN if drain else Mode.MAINTENANCE
    found = ask_health(
        lambda client: client.set_maintenance(target, mode, duration=span, reason=reason), data_dir
    )
    if json:
        typer.echo(text(found))
    else:
        typer.echo(f"{target} is out of service ({mode.value}) until {moment(found.end_time)}")


@maintenance.command()
def end(target: Named, data_dir: DataDir = HERE) -> None:
    """Put a target back into service."""
    ask_health(lambda client: client.end_maintenance(target), data_dir)
    typer.echo(f"{target} is in service")


def ask_health(call: Callable[[HealthClient], Awaitable[T]], data_dir: Path) -> T:
    """Ask the health service, or say in one line why it did not answer and exit."""

    async def connected(channel: Channel) -> T:
        return await call(HealthClient(channel))

    return ask(HEALTH, connected, tenant=None, data_dir=data_dir)


def _tell(found: Report, *, json: bool) -> None:
    if json:
        typer.echo(text(found))
        return
    console().print(f"the suite is {listing.state(found.state)} ({moment(found.snapshot_time)})")
    if found.maintenance is not None:
        until = moment(found.maintenance.end_time)
        console().print(f"out of service until {until}: {found.maintenance.reason}", markup=False)
    console().print(listing.report(found, datetime.now(UTC)))
