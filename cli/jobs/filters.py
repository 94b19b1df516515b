"""Which jobs are meant, as the options of several commands say it."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from cli.arguments import UsageError, length_back
from cli.jobs.options import now
from mainstay.jobs import JobFilter, JobState

# Jobs that have ended are listed for 30 days. Those that go on may be older: a delay takes a year.
_OLDEST = timedelta(days=366)

_STATES = {state.value: state for state in JobState if state is not JobState.UNKNOWN}

States = Annotated[
    list[str] | None, typer.Option("--state", help="In this state; repeatable.", metavar="STATE")
]
Function = Annotated[str, typer.Option(help="Of this function.")]
EventId = Annotated[str, typer.Option("--event", metavar="ID", help="Started by this event.")]
RequestId = Annotated[str, typer.Option(help="Caused by the call with this request id.")]
FailureKind = Annotated[
    str, typer.Option("--failure", metavar="KIND", help="Whose last failure is of this kind.")
]
Since = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="Accepted not longer ago: 90s, 1h30m, 7d.")
]
Before = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="Accepted longer ago: 90s, 1h30m, 7d.")
]


def job_filter(
    *,
    states: list[str] | None = None,
    function: str = "",
    event: str = "",
    request_id: str = "",
    failure: str = "",
    since: str | None = None,
    before: str | None = None,
) -> JobFilter:
    """Return which jobs are meant; raises UsageError for what makes no sense."""
    return JobFilter(
        states=frozenset(map(_state, states or ())),
        function=function,
        event_id=event,
        request_id=request_id,
        failure_kind=failure,
        since=_ago(since, "--since"),
        until=_ago(before, "--before"),
    )


def _state(text: str) -> JobState:
    state = _STATES.get(text.lower().replace("-", "_").replace(" ", "_"))
    if state is None:
        raise UsageError(f"--state {text!r} is none; there are {', '.join(_STATES)}")
    return state


def _ago(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    return now() - length_back(text, option, most=_OLDEST)
