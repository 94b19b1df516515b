"""What `mainstay health` prints for people."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from cli.console import facts, table
from cli.wording import length, moment
from mainstay.health import Check, Explanation, History, Incident, Replica, Report, State, Uptime

_NONE = "-"
_COLOURS = {
    State.HEALTHY: "green",
    State.DEGRADED: "yellow",
    State.UNHEALTHY: "red",
    State.UNKNOWN: "magenta",
    State.MAINTENANCE: "blue",
}


def state(of: State) -> str:
    """Return a state in its colour; the word alone says as much."""
    return f"[{_COLOURS[of]}]{of.value}[/]"


def report(found: Report, now: datetime) -> Table:
    """Return the checks, a line for each; replicas are listed where a service has several."""
    made = table("target", "state", "for", "latency", "why", right=("latency",), whole=("state",))
    for check in found.checks:
        caused = check.because and check.own_state is State.HEALTHY
        why = f"because of {', '.join(check.because)}" if caused else check.message
        critical = " (critical)" if check.critical else ""
        made.add_row(
            escape(f"{check.name}{critical}"),
            state(check.state),
            length(now - check.since) if check.since else _NONE,
            _milliseconds(check),
            escape(why),
        )
        for each in check.replicas if len(check.replicas) > 1 else ():
            row = (escape(f"  {each.name}"), state(each.state), "", _milliseconds(each))
            made.add_row(*row, escape(each.message))
    return made


def _milliseconds(check: Check | Replica) -> str:
    return _NONE if check.latency is None else f"{check.latency * 1000:.1f} ms"


def explanation(found: Explanation) -> Table:
    """Return why a target is as it is."""
    return facts(_explained(found))


def _explained(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "why", found.summary
    for root in found.root_causes:
        since = f", since {moment(root.since)}" if root.since else ""
        yield "cause", f"{root.name}: {root.message}{since}"
        if root.request_id:
            yield "request id", root.request_id
    if found.check.needs:
        yield "needs", ", ".join(found.check.needs)
    if found.check.uses:
        yield "uses", ", ".join(found.check.uses)
    if found.blast_radius:
        yield "hits", ", ".join(found.blast_radius)


def history(found: History) -> Table:
    """Return how a target was: its uptimes and what is left of its error budget."""
    budget = found.error_budget
    left = f"{budget.remaining_ratio:.1%} left of {length(budget.allowed)}"
    return facts(
        (
            *((f"uptime {length(uptime.span)}", _uptime(uptime)) for uptime in found.uptimes),
            (f"error budget {length(budget.span)}", f"{left} at {budget.objective:.1%}"),
        )
    )


def _uptime(uptime: Uptime) -> str:
    if uptime.ratio is None:
        return "nothing is known"
    known = "" if uptime.coverage > _WHOLE else f" of the {uptime.coverage:.1%} that is known"
    return f"{uptime.ratio:.3%}{known}"


# Minutes at the edges of a span are never known in full.
_WHOLE = 0.995


def incidents(found: Sequence[Incident], now: datetime) -> Table:
    """Return incidents, the newest first."""
    made = table("began", "lasted", "worst", "because", "message", whole=("began", "worst"))
    for each in found:
        lasted = length((each.end_time or now) - each.start_time)
        made.add_row(
            moment(each.start_time),
            lasted if each.end_time else f"{lasted}, goes on",
            state(each.worst_state),
            escape(", ".join(each.because)),
            escape(each.message),
        )
    return made
