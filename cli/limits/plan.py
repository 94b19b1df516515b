"""`mainstay limits plan`: who is on which plan, and what plans include."""

from typing import Annotated

import typer

from cli.asking import DENIED
from cli.documents import text
from cli.limits.options import HERE, DataDir, Json, Plan, Reason, Subject, Tenant, ask_limits
from cli.wording import moment
from mainstay.ratelimit import AssignedPlan, PlanSource

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def plans() -> None:
    """Show and change who is on which plan."""


@app.command()
def show(
    subject: Subject, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Tell the plan of a subject and what it includes."""
    found = ask_limits(lambda client: client.get_plan(subject), tenant, data_dir)
    typer.echo(text(found) if json else _told(found))


@app.command()
def assign(
    subject: Subject,
    plan: Annotated[str, typer.Argument(help="A plan of the policy.")],
    reason: Reason = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Put a subject on a plan, on every replica within a second."""
    found = ask_limits(
        lambda client: client.assign_plan(subject, plan, reason=reason), tenant, data_dir
    )
    typer.echo(text(found) if json else _told(found))


@app.command()
def remove(
    subject: Subject,
    reason: Reason = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """End the assignment of a subject's plan."""
    found = ask_limits(
        lambda client: client.assign_plan(subject, "", reason=reason), tenant, data_dir
    )
    typer.echo(text(found) if json else _told(found))


@app.command()
def feature(
    subject: Subject,
    feature: Annotated[str, typer.Argument(help="A feature of the policy.")],
    plan: Plan = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Tell whether a feature is in a subject's plan.

    The exit status is 0 when it is and 3 when it is not, 1 when nobody could tell and 2 for a
    command that makes no sense.
    """
    found = ask_limits(
        lambda client: client.check_feature(subject, feature, plan=plan), tenant, data_dir
    )
    if json:
        typer.echo(text(found))
    else:
        has = "includes" if found.included else "does not include"
        upgrade = f"; {found.upgrade_plan} would" if found.upgrade_plan else ""
        named = f"plan {found.plan}" if found.plan else "having no plan"
        removed = found.plan_source is PlanSource.REMOVED
        why = f" (the policy no longer has the plan of {subject})" if removed else ""
        typer.echo(f"{named}{why} {has} {feature}{upgrade}")
    if not found.included:
        raise typer.Exit(DENIED)


def _told(found: AssignedPlan) -> str:
    if not found.plan:
        return f"{found.subject} is on no plan"
    since = f" since {moment(found.assign_time)}" if found.assign_time else ""
    by = f" (by {found.assigner})" if found.assigner else ""
    includes = f"; it includes {', '.join(found.features)}" if found.features else ""
    return f"{found.subject} is on plan {found.plan}{since}{by}{includes}"
