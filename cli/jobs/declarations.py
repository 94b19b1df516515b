"""Functions as workers have declared them, for people."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.markup import escape
from rich.table import Table

from cli.console import facts, table
from cli.wording import length, moment, size, words
from mainstay.jobs import DeclaredFunction, Overflow, VersionPolicy
from mainstay.jobs.durations import Duration, in_seconds

_NONE = "-"


def functions(found: Sequence[DeclaredFunction]) -> Table:
    """Return functions with what starts and what bounds them."""
    made = table("function", "started by", "tries", "bounds", right=("tries",))
    for each in found:
        made.add_row(
            escape(each.name),
            escape(each.trigger) or _NONE,
            f"{each.max_attempts}",
            escape("; ".join(bounds(each))) or _NONE,
        )
    return made


def bounds(function: DeclaredFunction) -> Iterator[str]:
    """Yield what keeps jobs of a function from running, each in some words."""
    if function.concurrency:
        yield f"{function.concurrency:,} at once"
    if (keyed := function.keyed_concurrency) is not None:
        yield f"{keyed.limit:,} at once per {keyed.key or 'tenant'}"
    if (rate := function.rate_limit) is not None:
        yield f"rate of {rate.endpoint}{f' for {rate.subject}' if rate.subject else ''}"
    if function.timeout is not None:
        yield f"{length(function.timeout)} a turn"
    if (debounce := function.debounce) is not None:
        per = f" per {debounce.key}" if debounce.key else ""
        yield f"after {_length(debounce.period)} without another{per}"
    if function.idempotency:
        yield f"once per {function.idempotency}"
    if function.overflow is not None:
        yield f"queue of {_overflow(function.overflow)}"


def _overflow(overflow: Overflow) -> str:
    most = [
        *([f"{overflow.max_depth:,} jobs"] if overflow.max_depth else []),
        *([_length(overflow.max_age)] if overflow.max_age is not None else []),
        *([size(overflow.max_bytes)] if overflow.max_bytes else []),
    ]
    return f"at most {' or '.join(most) or 'any length'}, then {words(overflow.policy.value)}"


def declaration(function: DeclaredFunction) -> Table:
    """Return all that is declared of one function."""
    pairs = [
        ("function", function.name),
        ("started by", function.trigger or "calls, other jobs and schedules only"),
        ("tries", _tries(function)),
        ("bounds", "; ".join(bounds(function)) or "none"),
        ("version", _version(function)),
        ("priority", f"{function.priority}"),
        ("start timeout", _or_none(function.start_timeout)),
        ("hang timeout", _or_none(function.hang_timeout, "as the service's settings say")),
    ]
    if function.workers is not None:
        pairs.append(("workers", f"{function.workers:,} connected"))
    if function.update_time is not None:
        pairs.append(("declared", moment(function.update_time)))
    return facts(pairs)


def _tries(function: DeclaredFunction) -> str:
    first, longest = function.initial_backoff, function.max_backoff
    if first is None or longest is None:
        return f"{function.max_attempts}"
    return f"{function.max_attempts}, {length(first)} apart at first and {length(longest)} at most"


def _version(function: DeclaredFunction) -> str:
    then = {
        VersionPolicy.CONTINUE: "another goes on with its jobs",
        VersionPolicy.PIN: "its jobs wait for it",
        VersionPolicy.FAIL: "its jobs fail with another",
    }.get(function.version_policy, "")
    return ", ".join(part for part in (function.version or "none", then) if part)


def _length(span: Duration) -> str:
    return length(timedelta(seconds=in_seconds(span)))


def _or_none(span: timedelta | None, otherwise: str = "none") -> str:
    return otherwise if span is None else length(span)
