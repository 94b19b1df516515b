"""`mainstay limits policy`: the policy, its versions, and what another would do."""

from collections.abc import Iterable
from typing import Annotated

import typer

from cli.arguments import length
from cli.asking import misused, sensible
from cli.console import console
from cli.documents import text
from cli.limits import listing
from cli.limits.options import HERE, DataDir, Json, Tenant, ask_limits, document, first
from cli.limits.refusals import mistakes, tell_problem, with_problem
from mainstay.ratelimit import PolicyVersion

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

File = Annotated[str, typer.Argument(metavar="FILE", help="The policy as YAML; - for stdin.")]
Why = Annotated[str, typer.Option(help="Why, for the audit.")]


@app.callback()
def policies() -> None:
    """Show, try out and change the rate limit policy."""


@app.command()
def show(
    version: Annotated[int | None, typer.Option(help="Default: the one in force.")] = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Print a version of the policy as it was written."""
    found = ask_limits(lambda client: client.get_policy(version), tenant, data_dir)
    if json:
        typer.echo(text(found))
        return
    typer.echo(found.text, nl=not found.text.endswith("\n"))
    tell_problem(found.problem)


@app.command()
def versions(
    most: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List the versions, the newest first; the one in force has a star."""
    found, problem = ask_limits(
        lambda client: with_problem(client, first(client.policy_versions(), most)),
        tenant,
        data_dir,
    )
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.versions(found))
    else:
        typer.echo("no versions")
    tell_problem(problem)


@app.command()
def check(
    file: File,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the service too, what would be without effect.")
    ] = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
) -> None:
    """Tell whether a policy would be accepted, and change nothing; needs no service."""
    policy = sensible(lambda: document(file))
    if found := mistakes(policy):
        misused("\n".join([f"{file} is refused:", *found]))
    warnings = (
        ask_limits(lambda client: client.validate_policy(policy), tenant, data_dir)
        if online
        else ()
    )
    typer.echo(f"{file} would be accepted")
    _warn(warnings)


@app.command()
def preview(
    file: File,
    window: Annotated[str, typer.Option(help="How far back, up to 15m.")] = "15m",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Replay recent traffic against a policy, and change nothing."""
    policy, span = sensible(lambda: (document(file), length(window, "--window")))
    found = ask_limits(lambda client: client.preview_policy(policy, window=span), tenant, data_dir)
    if json:
        typer.echo(text(found))
        return
    screen = console()
    for part in listing.preview(found):
        screen.print(part)


@app.command()
def put(
    file: File,
    reason: Why,
    expected: Annotated[
        int | None, typer.Option("--expected-version", help="What must be in force.")
    ] = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Put a policy in force, on every replica within two seconds."""
    policy = sensible(lambda: document(file))
    version = ask_limits(
        lambda client: client.put_policy(policy, reason=reason, expected_version=expected),
        tenant,
        data_dir,
    )
    _tell(version, json=json)
    if not json:
        _warn(version.warnings)


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="Whose text is to hold again.")],
    reason: Why,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Put the text of an earlier version in force again, as a new version."""
    made = ask_limits(
        lambda client: client.rollback_policy(version, reason=reason), tenant, data_dir
    )
    _tell(made, json=json)


def _tell(version: PolicyVersion, *, json: bool) -> None:
    typer.echo(text(version) if json else f"version {version.version} is in force")


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
