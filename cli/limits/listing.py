"""What `mainstay limits` prints for people in tables."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from cli.console import table
from cli.wording import moment, words
from mainstay.ratelimit import (
    Algorithm,
    Analytics,
    LimitedSubject,
    Override,
    PlanLimits,
    PolicyVersion,
    Preview,
    Rule,
    Rules,
    Violation,
)

_NONE, _UNLIMITED = "-", "unlimited"


def rules(found: Rules) -> Table:
    """Return the rules with their limits, a line for each plan."""
    made = table("rule", "plan", "limits", "counted", "endpoints")
    for rule in found.rules:
        name = f"{rule.name} (shadow)" if rule.shadow else rule.name
        counted, endpoints = _counted(rule), ", ".join(rule.endpoints) or words(rule.measure.value)
        for each in rule.plan_limits:
            parts = (name, each.plan or _NONE, _limits(rule, each), counted, endpoints)
            made.add_row(*map(escape, parts))
            name = counted = endpoints = ""
    return made


def _counted(rule: Rule) -> str:
    if rule.algorithm is Algorithm.CONCURRENCY:
        return "places"
    parts = [words(rule.algorithm.value)]
    if rule.burst:
        parts.append(f"burst {rule.burst:,}")
    if rule.time_zone:
        parts.append(f"calendar of {rule.time_zone}")
    return ", ".join(parts)


def _limits(rule: Rule, of_plan: PlanLimits) -> str:
    limits = " ".join(of_plan.limits) or _UNLIMITED
    if rule.algorithm is Algorithm.CONCURRENCY and limits != _UNLIMITED:
        limits = f"{limits} at once"
    return f"{limits} (own)" if of_plan.tenant_specific else limits


def violations(found: Sequence[Violation], *, tenants: bool = False) -> Table:
    """Return denials, the newest first; with `tenants` whose they are instead of the plan."""
    of = "tenant" if tenants else "plan"
    made = table("last", "subject", "rule", of, "limit", "count", right=("count",), whole=("last",))
    for each in found:
        made.add_row(
            moment(each.end_time),
            escape(each.subject),
            escape(f"{each.rule} (shadow)" if each.shadow else each.rule),
            escape(each.tenant if tenants else each.plan) or _NONE,
            escape(each.limit) or _NONE,
            f"{each.count:,}",
        )
    return made


def analytics(found: Analytics, *, tenants: bool = False) -> Table:
    """Return what was decided, by rule and plan; with `tenants` by tenant, too."""
    columns = ("allowed", "denied", "shadow", "degraded")
    made = table(*(("tenant",) if tenants else ()), "rule", "plan", *columns, right=columns)
    for group in found.groups:
        counts = group.counts
        made.add_row(
            *((escape(group.tenant),) if tenants else ()),
            escape(group.rule),
            escape(group.plan) or _NONE,
            f"{counts.allowed:,}",
            f"{counts.denied:,}",
            f"{counts.shadow_denied:,}",
            f"{counts.degraded:,}",
        )
    return made


def top_subjects(found: Sequence[LimitedSubject], *, tenants: bool = False) -> Table:
    """Return who was limited most; with `tenants` whose they are, too."""
    made = table(
        *("most limited", *(("tenant",) if tenants else ()), "rule", "denied"), right=("denied",)
    )
    for each in found:
        at_most = "≤ " if each.overcount else ""
        made.add_row(
            escape(each.subject),
            *((escape(each.tenant),) if tenants else ()),
            escape(each.rule),
            f"{at_most}{each.denied:,}",
        )
    return made


def overrides(found: Sequence[Override]) -> Table:
    """Return overrides by subject and rule."""
    made = table("subject", "rule", "limits", "ends", "reason", whole=("ends",))
    for each in found:
        made.add_row(
            escape(each.subject),
            escape(each.rule),
            escape(each.limits),
            moment(each.expire_time),
            escape(each.reason),
        )
    return made


def versions(found: Sequence[PolicyVersion]) -> Table:
    """Return versions of the policy."""
    made = table("version", "since", "by", "reason", right=("version",), whole=("since",))
    for each in found:
        made.add_row(
            f"{'* ' if each.in_force else ''}{each.version}",
            moment(each.create_time),
            escape(each.creator),
            escape(each.reason),
        )
    return made


def preview(found: Preview) -> Iterator[str | Table]:
    """Yield what a policy would change."""
    if found.start_time is None or not found.replayed:
        yield "No traffic was recorded that could be replayed."
        return
    yield (
        f"{found.replayed:,} checks since {moment(found.start_time)} replayed, of "
        f"{found.sampled:.0%} of the subjects."
    )
    columns = ("checks", "denied now", "then")
    by_rule = table("rule", *columns, right=columns)
    for rule in found.rules:
        figures = (rule.checks, rule.denied_before, rule.denied_after)
        by_rule.add_row(escape(rule.rule), *(f"{each:,}" for each in figures))
    yield by_rule
    if found.subjects:
        yield ""
        by_subject = table("subject", "rule", *columns[1:], right=columns[1:])
        for each in found.subjects:
            by_subject.add_row(
                escape(each.subject),
                escape(each.rule),
                f"{each.denied_before:,}",
                f"{each.denied_after:,}",
            )
        yield by_subject
