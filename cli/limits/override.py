"""`mainstay limits override`: limits of one subject's own, until a moment."""

from typing import Annotated

import typer

from cli.arguments import length
from cli.asking import sensible
from cli.console import console
from cli.documents import text
from cli.limits import listing
from cli.limits.options import (
    HERE,
    DataDir,
    Json,
    Reason,
    Rule,
    Subject,
    Tenant,
    ask_limits,
    first,
    shifted,
)
from cli.wording import moment

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
# As many as a tenant may have.
_MOST = 10_000


@app.callback()
def overrides() -> None:
    """Show and change what single subjects may do instead of what the policy says."""


@app.command()
def put(
    subject: Subject,
    rule: Rule,
    limits: Annotated[str, typer.Argument(help="As in the policy: 50/min, unlimited.")],
    lasting: Annotated[str, typer.Option("--for", help="For how long: 15m, 1h30m, 7d.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Give a subject limits of its own; replaces the ones before."""
    until = sensible(lambda: shifted(length(lasting, "--for"), "--for"))
    put_now = ask_limits(
        lambda client: client.put_override(subject, rule, limits, expire_time=until, reason=reason),
        tenant,
        data_dir,
    )
    if json:
        typer.echo(text(put_now))
    else:
        typer.echo(
            f"{subject} has {put_now.limits} under {rule} until {moment(put_now.expire_time)}"
        )


@app.command(name="list")
def list_overrides(
    subject: Annotated[str, typer.Option(help="Only of this subject.")] = "",
    rule: Annotated[str, typer.Option(help="Only on this rule.")] = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List the overrides in force."""
    found = ask_limits(
        lambda client: first(client.overrides(subject=subject, rule=rule), _MOST), tenant, data_dir
    )
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.overrides(found))
    else:
        typer.echo("no overrides")


@app.command()
def delete(
    subject: Subject,
    rule: Rule,
    reason: Reason = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """End an override; ending none is no failure."""
    deleted = ask_limits(
        lambda client: client.delete_override(subject, rule, reason=reason), tenant, data_dir
    )
    if json:
        typer.echo(text({"deleted": deleted}))
    else:
        typer.echo(f"{subject} has {'no longer an' if deleted else 'no'} override under {rule}")
