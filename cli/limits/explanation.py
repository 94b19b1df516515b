"""What `mainstay limits explain` prints: sentences that tell why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cli.limits.sentences import left, per
from cli.wording import moment, words
from mainstay.ratelimit import (
    Algorithm,
    AppliedRule,
    Explanation,
    LimitSource,
    LimitState,
    PlanSource,
    RateLimitClient,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What an explanation does not say itself.

    Attributes:
        time_zones: Those of the calendars that rules follow, by rule.
        removed_plan: The plan that was assigned and is no longer in the policy.

    """

    time_zones: Mapping[str, str] = field(default_factory=dict)
    removed_plan: str = ""


async def background(client: RateLimitClient, subject: str, found: Explanation) -> Background:
    """Ask for what is not said, where something is not."""
    fixed = any(state.algorithm is Algorithm.FIXED_WINDOW for state in _states(found))
    rules = (await client.list_limits()).rules if fixed else ()
    removed = found.plan_source is PlanSource.REMOVED
    return Background(
        time_zones={rule.name: rule.time_zone for rule in rules if rule.time_zone},
        removed_plan=(await client.get_plan(subject)).plan if removed else "",
    )


def _states(found: Explanation) -> Iterator[LimitState]:
    for applied in found.rules:
        yield from applied.limits


def explanation(found: Explanation, known: Background) -> Iterator[str]:
    """Yield lines: the plan, and each rule that applies with its limits."""
    yield f"plan: {found.plan or 'none'} ({_plan_source(found.plan_source, known)})"
    for applied in found.rules:
        yield ""
        yield _rule(applied)
        if not applied.limits:
            yield "  unlimited"
        for state in applied.limits:
            yield f"  {_limit(state, known.time_zones.get(applied.rule, ''))}"
        if applied.also_matching:
            yield f"  also matching, less specific: {', '.join(applied.also_matching)}"
    if found.degraded:
        yield ""
        yield (
            "The counters cannot be reached: what is left is what this replica alone would allow, "
            "by what each rule says of failures."
        )


def _plan_source(source: PlanSource, known: Background) -> str:
    match source:
        case PlanSource.CALL:
            return "named by the call"
        case PlanSource.NONE:
            return "none is assigned"
        case PlanSource.UNKNOWN:
            return "could not be looked up"
        case PlanSource.REMOVED:
            return f"the policy no longer has the plan {known.removed_plan}".rstrip()
    return words(source.value)


def _rule(applied: AppliedRule) -> str:
    by = f" by {applied.matched}" if applied.matched else ""
    source = words(applied.limit_source.value)
    if applied.limit_source is LimitSource.OVERRIDE and applied.override is not None:
        until = moment(applied.override.expire_time)
        source = f"override until {until}: {applied.override.reason}"
    mode = applied.on_failure.value
    return f"rule {applied.rule}{by}, limits from {source}, {mode} on failure"


def _limit(state: LimitState, time_zone: str) -> str:
    calendar = _calendar(state, time_zone)
    counted = [] if state.window is None else [words(state.algorithm.value)]
    if state.burst:
        counted.append(f"burst {state.burst:,}")
    if calendar:
        counted.append(time_zone)
    how = f" ({', '.join(counted)})" if counted else ""
    resets = "" if state.reset_time is None else f", reset {moment(state.reset_time)}"
    shadow = ", only watched" if state.shadow else ""
    return f"{left(state)} {calendar or per(state)} left{how}{resets}{shadow}"


_HOUR = timedelta(hours=1)
# Where clocks are put forward or back, a day has an hour less or more.
_CALENDARS = {
    "per calendar day": (timedelta(days=1) - _HOUR, timedelta(days=1) + _HOUR),
    "per calendar week": (timedelta(days=7) - _HOUR, timedelta(days=7) + _HOUR),
    "per calendar month": (timedelta(days=28) - _HOUR, timedelta(days=31) + _HOUR),
}


def _calendar(state: LimitState, time_zone: str) -> str:
    if state.algorithm is not Algorithm.FIXED_WINDOW or state.window is None or not time_zone:
        return ""
    window = timedelta(seconds=state.window)
    return next((name for name, (least, most) in _CALENDARS.items() if least <= window <= most), "")
