"""What `mainstay limits` prints for people in tables: 80 columns at most."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from cli.limits.sentences import left, window
from cli.wording import moment, words
from mainstay.ratelimit import (
    Analytics,
    AppliedRule,
    Explanation,
    LimitedSubject,
    LimitSource,
    Override,
    PolicyVersion,
    Preview,
    Rules,
    Violation,
)

_NONE = "-"


# Between two columns are two blanks: with their widths no more than 80.
def _table(*columns: tuple[str, int], right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, width in columns:
        if title in right:
            table.add_column(title, justify="right", no_wrap=True, max_width=width)
        else:
            table.add_column(title, overflow="ellipsis", no_wrap=True, max_width=width)
    return table


def explanation(found: Explanation) -> Iterator[str]:
    """Yield lines: the plan, and each rule that applies with its limits."""
    yield f"plan: {found.plan or 'none'} ({_plan_source(found)})"
    for applied in found.rules:
        yield ""
        yield _rule(applied)
        if not applied.limits:
            yield "  unlimited"
        for state in applied.limits:
            resets = "" if state.reset_time is None else f", reset {moment(state.reset_time)}"
            shadow = ", only watched" if state.shadow else ""
            yield f"  {left(state)} left per {window(state)}{resets}{shadow}"
        if applied.also_matching:
            yield f"  also matching, less specific: {', '.join(applied.also_matching)}"
    if found.degraded:
        yield ""
        yield "The counters cannot be reached: what is left is not known."


def _plan_source(found: Explanation) -> str:
    return {
        "call": "named by the call",
        "assigned": "assigned",
        "none": "none is assigned",
        "unknown": "could not be looked up",
    }[found.plan_source.value]


def _rule(applied: AppliedRule) -> str:
    by = f" by {applied.matched}" if applied.matched else ""
    source = words(applied.limit_source.value)
    if applied.limit_source is LimitSource.OVERRIDE and applied.override is not None:
        until = moment(applied.override.expire_time)
        source = f"override until {until}: {applied.override.reason}"
    mode = applied.on_failure.value
    return f"rule {applied.rule}{by}, limits from {source}, {mode} on failure"


def rules(found: Rules) -> Table:
    """Return the rules with their limits, a line for each plan."""
    table = _table(("rule", 18), ("plan", 12), ("limits", 24), ("endpoints", 20))
    for rule in found.rules:
        name = f"{rule.name} (shadow)" if rule.shadow else rule.name
        endpoints = ", ".join(rule.endpoints) or words(rule.measure.value)
        for each in rule.plan_limits:
            own = " (own)" if each.tenant_specific else ""
            limits = " ".join(each.limits) or "unlimited"
            table.add_row(
                escape(name), escape(each.plan) or _NONE, escape(limits) + own, escape(endpoints)
            )
            name = endpoints = ""
    return table


def violations(found: Sequence[Violation]) -> Table:
    """Return denials, the newest first."""
    table = _table(
        ("last", 23),
        ("subject", 12),
        ("rule", 11),
        ("plan", 6),
        ("limit", 12),
        ("count", 6),
        right=("count",),
    )
    for each in found:
        table.add_row(
            moment(each.end_time),
            escape(each.subject),
            escape(f"{each.rule} (shadow)" if each.shadow else each.rule),
            escape(each.plan) or _NONE,
            escape(each.limit) or _NONE,
            f"{each.count:,}",
        )
    return table


def analytics(found: Analytics) -> Table:
    """Return what was decided, by rule and plan."""
    columns = ("allowed", "denied", "shadow", "degraded")
    table = _table(("rule", 18), ("plan", 12), *((title, 10) for title in columns), right=columns)
    for group in found.groups:
        counts = group.counts
        table.add_row(
            escape(group.rule),
            escape(group.plan) or _NONE,
            f"{counts.allowed:,}",
            f"{counts.denied:,}",
            f"{counts.shadow_denied:,}",
            f"{counts.degraded:,}",
        )
    return table


def top_subjects(found: Sequence[LimitedSubject]) -> Table:
    """Return who was limited most."""
    table = _table(("most limited", 40), ("rule", 24), ("denied", 12), right=("denied",))
    for each in found:
        at_most = "≤ " if each.overcount else ""
        table.add_row(escape(each.subject), escape(each.rule), f"{at_most}{each.denied:,}")
    return table


def overrides(found: Sequence[Override]) -> Table:
    """Return overrides by subject and rule."""
    table = _table(("subject", 15), ("rule", 12), ("limits", 12), ("ends", 23), ("reason", 10))
    for each in found:
        table.add_row(
            escape(each.subject),
            escape(each.rule),
            escape(each.limits),
            moment(each.expire_time),
            escape(each.reason),
        )
    return table


def versions(found: Sequence[PolicyVersion]) -> Table:
    """Return versions of the policy."""
    table = _table(("version", 9), ("since", 23), ("by", 14), ("reason", 28), right=("version",))
    for each in found:
        table.add_row(
            f"{'* ' if each.in_force else ''}{each.version}",
            moment(each.create_time),
            escape(each.creator),
            escape(each.reason),
        )
    return table


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
    rules_table = _table(("rule", 38), *((title, 12) for title in columns), right=columns)
    for rule in found.rules:
        figures = (rule.checks, rule.denied_before, rule.denied_after)
        rules_table.add_row(escape(rule.rule), *(f"{each:,}" for each in figures))
    yield rules_table
    if found.subjects:
        yield ""
        table = _table(
            ("subject", 30),
            ("rule", 20),
            ("denied now", 12),
            ("then", 12),
            right=("denied now", "then"),
        )
        for each in found.subjects:
            table.add_row(
                escape(each.subject),
                escape(each.rule),
                f"{each.denied_before:,}",
                f"{each.denied_after:,}",
            )
        yield table
