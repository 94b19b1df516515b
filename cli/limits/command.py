"""`mainstay limits`: check, look, reset and explain from a terminal."""

from typing import Annotated

import typer

from cli.arguments import length_back
from cli.asking import DENIED, misused, sensible
from cli.console import console
from cli.documents import text
from cli.limits import listing, override, plan, policy
from cli.limits.explanation import Background, background, explanation
from cli.limits.options import (
    ALL_TENANTS,
    HERE,
    KEPT,
    Cost,
    DataDir,
    Endpoint,
    Json,
    Plan,
    Reason,
    Subject,
    Tenant,
    ask_limits,
    first,
    shifted,
)
from cli.limits.refusals import tell_problem, with_problem
from cli.limits.sentences import verdict
from cli.wording import length as in_words
from mainstay.ratelimit import Decision, Explanation, RateLimitClient

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(plan.app, name="plan")
app.add_typer(override.app, name="override")
app.add_typer(policy.app, name="policy")


@app.callback()
def limits() -> None:
    """Check and look at rate limits, and change who may do what.

    Asks the service at MAINSTAY_RATELIMIT_ADDRESS, or that of the suite that `mainstay up` runs.
    The exit status is 1 for a failure, 2 for a command that makes no sense, and 3 for a denial.
    """


@app.command()
def check(
    subject: Subject,
    endpoint: Endpoint,
    plan: Plan = None,
    cost: Cost = 1,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Decide, and consume when allowed.

    The exit status is 0 when allowed and 3 when denied, 1 when nobody could decide and 2 for a
    command that makes no sense.
    """
    decision = ask_limits(
        lambda client: client.check(subject, endpoint, plan=plan, cost=cost), tenant, data_dir
    )
    _tell(decision, json=json, would=False)


@app.command()
def peek(
    subject: Subject,
    endpoint: Endpoint,
    plan: Plan = None,
    cost: Cost = 1,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Decide as `check` would, and consume nothing.

    The exit status is 0 when allowed and 3 when denied, 1 when nobody could decide and 2 for a
    command that makes no sense.
    """
    decision = ask_limits(
        lambda client: client.peek(subject, endpoint, plan=plan, cost=cost), tenant, data_dir
    )
    _tell(decision, json=json, would=True)


@app.command()
def reset(
    subject: Subject,
    endpoint: Annotated[str | None, typer.Option(help="What covers this endpoint.")] = None,
    rule: Annotated[str | None, typer.Option(help="This rule.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every rule.")] = False,
    reason: Reason = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Forget what a subject consumed: give one of --endpoint, --rule and --all."""
    if sum((endpoint is not None, rule is not None, everything)) != 1:
        misused("give one of --endpoint, --rule and --all")
    rules = ask_limits(
        lambda client: client.reset(
            subject, endpoint=endpoint, rule=rule, everything=everything, reason=reason
        ),
        tenant,
        data_dir,
    )
    if json:
        typer.echo(text({"rules": rules}))
    elif rules:
        typer.echo(f"forgot what {subject} had consumed under {', '.join(rules)}")
    else:
        typer.echo(f"{subject} had consumed nothing there")


@app.command()
def explain(
    subject: Subject,
    endpoint: Endpoint,
    plan: Plan = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Tell which rules apply, where their limits come from and what is left."""

    async def explained(client: RateLimitClient) -> tuple[Explanation, Background]:
        found = await client.explain(subject, endpoint, plan=plan)
        return found, Background() if json else await background(client, subject, found)

    found, known = ask_limits(explained, tenant, data_dir)
    if json:
        typer.echo(text(found))
        return
    screen = console()
    for part in explanation(found, known):
        screen.print(part, markup=False)


@app.command(name="list")
def list_rules(tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """List the rules in force, with the limits of each plan."""
    found, problem = ask_limits(
        lambda client: with_problem(client, client.list_limits()), tenant, data_dir
    )
    if json:
        typer.echo(text(found))
    else:
        console().print(listing.rules(found))
    tell_problem(problem)


@app.command()
def violations(
    subject: Annotated[str, typer.Option(help="Only of this subject.")] = "",
    rule: Annotated[str, typer.Option(help="Only of this rule.")] = "",
    since: Annotated[str, typer.Option(help="How far back: 90s, 1h30m, 24h, up to 90d.")] = "24h",
    most: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """List denials, the newest first; `--tenant "*"` those of all tenants."""
    span = sensible(lambda: length_back(since, "--since", most=KEPT))
    start = sensible(lambda: shifted(-span, "--since"))
    found = ask_limits(
        lambda client: first(
            client.violations(
                subject=subject, rule=rule, start_time=start, page_size=min(most, 500)
            ),
            most,
        ),
        tenant,
        data_dir,
    )
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.violations(found, tenants=tenant == ALL_TENANTS))
    else:
        typer.echo(f"no denials within the last {in_words(span)}")


@app.command()
def stats(
    rule: Annotated[str, typer.Option(help="Only of this rule.")] = "",
    plan: Annotated[str, typer.Option(help="Only of this plan.")] = "",
    window: Annotated[str, typer.Option(help="How far back, in whole minutes: 1m to 90d.")] = "1h",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Count what was allowed and denied, and name who was limited most; `--tenant "*"` of all."""
    span = sensible(lambda: length_back(window, "--window", most=KEPT))
    found = ask_limits(
        lambda client: client.analytics(window=span, rule=rule, plan=plan), tenant, data_dir
    )
    if json:
        typer.echo(text(found))
        return
    total, screen = found.total, console()
    screen.print(
        f"{total.allowed:,} checks allowed and {total.denied:,} denied within the last "
        f"{in_words(span)}."
    )
    if found.groups:
        screen.print()
        screen.print(listing.analytics(found, tenants=tenant == ALL_TENANTS))
    if found.top_subjects:
        screen.print()
        screen.print(listing.top_subjects(found.top_subjects, tenants=tenant == ALL_TENANTS))
    if found.incomplete:
        screen.print("\nSome evidence came faster than it could be stored and is missing.")


def _tell(decision: Decision, *, json: bool, would: bool) -> None:
    typer.echo(text(decision) if json else verdict(decision, would=would))
    if not decision.allowed:
        raise typer.Exit(DENIED)
