"""What was decided, in one line for people."""

from datetime import timedelta

from cli.wording import length, words
from mainstay.ratelimit import Decision, DenialReason, LimitState, Measure

_MICROS = 1_000_000


def verdict(decision: Decision, *, would: bool = False) -> str:
    """Return a decision; `would` for one that consumed nothing."""
    outcome = "allowed" if decision.allowed else "denied"
    parts = [f"{'would be ' if would else ''}{outcome} by {decision.rule} ({_plan(decision)})"]
    if decision.limit is None:
        parts.append("unlimited")
    else:
        per_window = "" if decision.window is None else f" per {_length(decision.window)}"
        parts.append(f"{decision.remaining or 0:,} of {decision.limit:,}{per_window} left")
    if not decision.allowed:
        parts.append(_denial(decision))
    parts += [f"the rule {rule} in shadow would have denied" for rule in decision.shadow_denied_by]
    if decision.failure_mode is not None:
        parts.append(f"decided without the counters ({decision.failure_mode.value})")
    return "; ".join(parts)


def _plan(decision: Decision) -> str:
    return f"plan {decision.plan}" if decision.plan else "no plan"


def _denial(decision: Decision) -> str:
    if decision.retry_after is not None:
        return f"retry in {_length(decision.retry_after)}"
    if decision.reason is DenialReason.COST_ABOVE_LIMIT:
        return "the cost is above the limit and can never pass"
    return words(decision.reason.value) if decision.reason else "no reason given"


def left(state: LimitState) -> str:
    """Return what is left of a limit."""
    if state.measure is Measure.MONEY:
        return f"{dollars(state.remaining)} of {dollars(state.limit)}"
    return f"{state.remaining:,} of {state.limit:,}"


def dollars(micros: int) -> str:
    """Return an amount of money."""
    return f"${micros / _MICROS:,.2f}"


def per(state: LimitState) -> str:
    """Return for how long a limit is."""
    return "at once" if state.window is None else f"per {_length(state.window)}"


def _length(seconds: float) -> str:
    return length(timedelta(seconds=seconds))
