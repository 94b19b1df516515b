"""`mainstay jobs outbox`: jobs that exist if and only if your own transaction committed."""

from typing import Annotated

import typer

from cli.asking import ask, misused
from cli.console import console
from cli.documents import text
from cli.jobs.options import JOBS
from cli.outbox import listing
from cli.outbox.options import (
    HERE,
    Database,
    DataDir,
    Json,
    Schema,
    Tenant,
    ask_outbox,
    outbox_of,
)
from mainstay.channel import Channel
from mainstay.errors import ConfigurationError
from mainstay.outbox import DEFAULT_SCHEMA, Outbox, OutboxRelay, OutboxStatus, TroubledMessage
from mainstay.outbox.schema import script
from shared.telemetry.logs import configure_logs

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Roles = list[str] | None
Senders = Annotated[
    Roles, typer.Option("--sender-role", metavar="ROLE", help="May send, and nothing else.")
]
Relays = Annotated[Roles, typer.Option("--relay-role", metavar="ROLE", help="May relay.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="As `status` lists them.")]


def add_outbox(family: typer.Typer) -> None:
    """Hang these commands under `mainstay jobs`."""
    family.add_typer(app, name="outbox")


@app.callback()
def outbox() -> None:
    """Start jobs from transactions of your own PostgreSQL.

    `install` adds two SQL functions to your database. What they are given in a
    transaction is sent by `relay` once it has committed, and never if it has not:

        SELECT mainstay_outbox.send_event('order/placed', '{"order": 42}');

        SELECT mainstay_outbox.enqueue('ship-order', '{"order": 42}');
    """


@app.command()
def install(
    database: Database = None,
    schema: Schema = DEFAULT_SCHEMA,
    senders: Senders = None,
    relays: Relays = None,
    printed: Annotated[
        bool, typer.Option("--print", help="Print the SQL, and change nothing.")
    ] = False,
    after: Annotated[
        int, typer.Option(min=0, help="With --print: upgrade this version. 0: install.")
    ] = 0,
) -> None:
    """Install the outbox or upgrade it, in one transaction.

    The role that installs owns it. Give the roles of your applications as
    --sender-role, each with an option of its own: they may call the functions and
    need no other right. Installing again changes nothing, but adds roles.

    Whoever changes the schema by migrations of their own takes the SQL of
    `--print`, and that of `--print --after VERSION` for an upgrade.
    """
    if printed:
        _print(schema, after, senders, relays)
        return
    applied = ask_outbox(
        lambda outbox: outbox.install(senders=senders or (), relays=relays or ()),
        database,
        schema,
    )
    if not applied:
        typer.echo(f"{schema} is up to date")
    elif applied[0] == 1:
        typer.echo(f"installed {schema}, version {applied[-1]}")
    else:
        typer.echo(f"upgraded {schema} to version {applied[-1]}")


def _print(schema: str, after: int, senders: Roles, relays: Roles) -> None:
    try:
        sql = script(schema, after=after, senders=senders or (), relays=relays or ())
    except ConfigurationError as error:
        misused(error.message)
    typer.echo(sql, nl=False)


@app.command()
def relay(
    database: Database = None,
    schema: Schema = DEFAULT_SCHEMA,
    tenant: Tenant = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between looks without news.")] = 5.0,
    data_dir: DataDir = HERE,
) -> None:
    """Take messages to the jobs service until stopped; any number may run.

    Asks the service at MAINSTAY_JOBS_ADDRESS, or that of the suite that
    `mainstay up` runs. Commits wake it at once. While the service or the database
    is away it waits. SIGTERM ends it after the batch in hand.
    """
    outbox = outbox_of(database, schema)
    configure_logs("outbox", level="info", log_format="auto", environment="development")

    async def relayed(channel: Channel) -> None:
        typer.echo(f"relaying {schema} to {channel.target}")
        await OutboxRelay(outbox, channel, poll_interval=poll).run_until_signal()

    ask(JOBS, relayed, tenant=tenant, data_dir=data_dir)


@app.command()
def status(database: Database = None, schema: Schema = DEFAULT_SCHEMA, json: Json = False) -> None:
    """Tell how much waits, since when, and what was not accepted and why."""

    async def looked(outbox: Outbox) -> tuple[OutboxStatus, tuple[TroubledMessage, ...]]:
        return await outbox.status(), await outbox.troubled()

    found, troubled = ask_outbox(looked, database, schema)
    if json:
        typer.echo(text({"status": found, "troubled": troubled}))
        return
    screen = console()
    screen.print(listing.status(found))
    if troubled:
        screen.print()
        screen.print(listing.troubled(troubled))


@app.command()
def retry(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    database: Database = None,
    schema: Schema = DEFAULT_SCHEMA,
) -> None:
    """Have messages that failed tried again."""
    if bool(ids) == everything:
        misused("give ids of failed messages, or --all")
    done = ask_outbox(lambda outbox: outbox.retry(ids or None), database, schema)
    _tell(done, "will be tried again")


@app.command()
def discard(ids: Ids = None, database: Database = None, schema: Schema = DEFAULT_SCHEMA) -> None:
    """Delete messages that failed, for good."""
    if not ids:
        misused("give ids of failed messages")
    _tell(ask_outbox(lambda outbox: outbox.discard(ids), database, schema), "discarded")


@app.command()
def remove(
    database: Database = None,
    schema: Schema = DEFAULT_SCHEMA,
    force: Annotated[bool, typer.Option("--force", help="With the messages in it.")] = False,
) -> None:
    """Remove the outbox from the database, once it is empty."""
    ask_outbox(lambda outbox: outbox.remove(force=force), database, schema)
    typer.echo(f"removed {schema}")


def _tell(ids: list[int], what: str) -> None:
    typer.echo(f"{what}: {', '.join(map(str, ids))}" if ids else "no such failed messages")
