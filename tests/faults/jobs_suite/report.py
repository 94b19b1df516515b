"""A run in words and tables of Markdown, 80 columns wide."""

import os
import platform
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.faults.jobs_suite.defaults import LEASE, DefaultFindings
from tests.faults.jobs_suite.functions import KEY_CAP
from tests.faults.jobs_suite.oracle import PROMISES, Violation
from tests.faults.jobs_suite.run import Findings
from tests.faults.jobs_suite.sampler import CAPS

WIDTH = 80
SHOWN = 20


def report(findings: Findings, defaults: DefaultFindings | None) -> str:
    """Return the whole report."""
    violations = [*findings.violations, *(defaults.violations if defaults else ())]
    parts = [
        "# What the jobs service survives",
        _introduction(findings),
        "## Promises",
        _promises(violations),
        _success(findings),
        *([_details(violations)] if violations else []),
        "## Faults",
        _faults(findings),
        paragraph(
            "Silence is the longest time after such a fault in which no job of anybody moved, "
            "caused by whatever was broken then. Taken over is when another worker began with a "
            "job that was lost, after the fault: in the middle, and the latest."
        ),
        *([_at_defaults(defaults)] if defaults else []),
        "## Load",
        _load(findings),
        _notes(findings),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(findings: Findings) -> str:
    plan = findings.plan
    return paragraph(
        f"Two replicas, {len(CLOCKS)} workers (the clock of one an hour fast, of one an hour "
        "slow) and PostgreSQL, each a process of its own, with links between them that fail; and "
        "two workers that say everything twice, in the wrong order and for others. What they did "
        "is judged by ledgers outside of the service. Lease 3 s, heartbeat 1 s, resume window "
        f"1 s. Seed {plan.seed}, {findings.seconds:.0f} s, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. Again: `make faults-jobs SEED={plan.seed}`."
    )


CLOCKS = ("right", "fast", "slow", "right")


def _promises(violations: Iterable[Violation]) -> str:
    counts = Counter(violation.promise for violation in violations)
    return table(("promise", "violations"), [(name, f"{counts[name]:,}") for name in PROMISES])


def _success(findings: Findings) -> str:
    sent = sum(findings.accepted.values())
    why = ", ".join(f"{count} {reason}" for reason, count in findings.failures.items())
    return paragraph(
        f"Of {findings.due:,} jobs that should succeed or be undone {findings.succeeded:,} were "
        f"({findings.success:.2%}{'; ' + why if why else ''}). {sent:,} jobs were acknowledged, "
        f"{findings.unanswered} sent without ever an answer. Once all was healed, the last job was "
        f"over after {findings.drained:.1f} s."
    )


def _details(violations: Sequence[Violation]) -> str:
    lines = [f"- {each.promise}: {each.what}" for each in violations[:SHOWN]]
    if len(violations) > SHOWN:
        lines.append(f"- and {len(violations) - SHOWN:,} more")
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    )


def _faults(findings: Findings) -> str:
    rows = [
        (
            each.kind,
            str(each.count),
            f"{each.silence:.1f} s",
            _seconds(each.median),
            _seconds(each.longest),
        )
        for each in findings.recoveries
    ]
    return table(("fault", "times", "silence", "taken over", "latest"), rows)


def _at_defaults(defaults: DefaultFindings) -> str:
    rows = [
        ("killed", defaults.killed, "12 s"),
        ("stopped, silent", defaults.silent, f"{LEASE + 1:.0f} s"),
    ]
    shown = table(
        ("worker", "jobs lost", "first taken over", "last", "bar"),
        [
            (name, str(len(waits)), _seconds(min(waits)), _seconds(max(waits)), bar)
            for name, waits, bar in rows
            if waits
        ],
    )
    return "## At the default lease of 30 s and resume window of 5 s\n\n" + shown


def _load(findings: Findings) -> str:
    ends: dict[str, list[str]] = {}
    for (function, state), count in sorted(findings.ends.items()):
        ends.setdefault(function, []).append(f"{count:,} {state}")
    rows = [(function, ", ".join(states)) for function, states in ends.items()]
    return table(("function", "jobs by end, children included"), rows)


def _notes(findings: Findings) -> str:
    plan, most = findings.plan, findings.samples.most
    errors = ", ".join(f"{count} {name}" for name, count in findings.errors.most_common())
    caps = f"capped {most.get('capped', 0)} of {CAPS['capped']}, "
    caps += f"by key {most.get('keyed', 0)} of {KEY_CAP}"
    answers = ", ".join(f"{name} {count:,}" for name, count in findings.answers.items())
    load = f"{plan.rate:g} jobs a second while things break, {findings.entries:,} lines of ledgers"
    samples = f"{findings.samples.taken:,} looks at the leases"
    notes = [
        f"{load}; workers were started again {findings.restarts} times.",
        f"Calls that failed and were repeated: {errors or 'none'}.",
        f"Jobs of such calls that had been accepted before: {findings.repeats}.",
        f"Most that ran at once, in {samples}: {caps}.",
        f"Repeated reports were answered: {answers}.",
    ]
    if plan.blocked:
        notes.append(
            f"From send to start, nothing broken, median: {findings.calm * 1e3:.0f} ms; behind "
            f"{plan.blocked:,} blocked jobs: {findings.calm_blocked * 1e3:.0f} ms."
        )
    return "\n".join(
        textwrap.fill(f"- {note}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for note in notes
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def paragraph(text: str) -> str:
    """Return text in lines."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    text = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)
