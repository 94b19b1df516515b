"""Runs in words and tables of Markdown, 80 columns wide where tables allow."""

import os
import platform
import statistics
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.faults.jobs_suite import oracle
from tests.faults.jobs_suite.oracle import Violation
from tests.faults.jobs_suite.report import WIDTH, paragraph, table
from tests.faults.suite import clock, disk, namespaces, promises
from tests.faults.suite.promises import RECOVERY_SECONDS
from tests.faults.suite.run import Findings, Injury
from tests.faults.suite.stage import REDIS_SECONDS
from tests.faults.suite.traffic import RATES

SHOWN = 30
# What a history of jobs cannot break here, where nobody looks at the leases meanwhile.
_NOT_LOOKED_AT = {oracle.SAID, oracle.PASSING, oracle.QUIET}


def report(seed: int, found: Sequence[Findings]) -> str:
    """Return the whole report."""
    violations = [each for findings in found for each in findings.violations]
    injuries = [injury for findings in found for injury in findings.injuries]
    parts = [
        "# What Mainstay survives",
        _introduction(seed, found),
        "## Promises",
        _promises(violations),
        *([_details(violations)] if violations else []),
        "## Faults",
        paragraph(
            "Each fault alone, the next when all calls succeed again. Recovery is the time until "
            "calls of every kind begin to succeed again, all of them for two seconds: from the "
            "fault's beginning where one replica of everything was left alone (marked `b`), else "
            f"from its end. At most {RECOVERY_SECONDS:g} s are promised. Failed is the share of "
            "all calls from the beginning until then, degraded answers included."
        ),
        _faults(injuries),
        paragraph("A single fault's figures stand below, the slowest kind of calls with its time."),
        _each(injuries),
        "## Errors",
        _errors(found),
        "## Rolling restart",
        *([_rolling(findings) for findings in found if findings.rolling] or ["Not done."]),
        "## Load",
        _load(found),
        _notes(found),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(seed: int, found: Sequence[Findings]) -> str:
    seconds = sum(findings.seconds for findings in found)
    load = statistics.fmean(findings.load for findings in found)
    networks = " and then over ".join(findings.network for findings in found)
    faults = sum(len(findings.injuries) for findings in found)
    return paragraph(
        "Two replicas of each of the four services, two workers of jobs, Redis (`appendfsync "
        "always`) and PostgreSQL, each a process of its own, under steady calls through the SDK by "
        "callers who know both replicas and prefer one. They reach each other over "
        f"{networks}. What callers were told is kept outside of the system and judged in the end. "
        f"{faults} faults in {seconds:.0f} s, seed {seed}; {os.cpu_count()} cores with a load "
        f"average of {load:.0f}, Python {platform.python_version()}; Redis may take "
        f"{REDIS_SECONDS:g} s, all else is as by default but for the terms of jobs' workers (lease "
        f"3 s, heartbeat 1 s). Again: `make faults SEED={seed}`."
    )


def _promises(violations: Iterable[Violation]) -> str:
    counts = Counter(violation.promise for violation in violations)
    named = [*promises.PROMISES, *(p for p in oracle.PROMISES if p not in _NOT_LOOKED_AT)]
    return table(("promise", "violations"), [(name, f"{counts[name]:,}") for name in named])


def _details(violations: Sequence[Violation]) -> str:
    lines = [f"- {each.promise}: {each.what}" for each in violations[:SHOWN]]
    if len(violations) > SHOWN:
        lines.append(f"- and {len(violations) - SHOWN:,} more")
    return _list(lines)


def _faults(injuries: Sequence[Injury]) -> str:
    kinds: dict[tuple[str, str], list[Injury]] = defaultdict(list)
    for injury in injuries:
        kinds[injury.kind, "b" if injury.outlived else "e"].append(injury)
    rows = []
    for (kind, since), all_of_it in sorted(kinds.items()):
        times = [injury.slowest[1] for injury in all_of_it]
        known = [each for each in times if each is not None]
        failed = sum(injury.errors.total() for injury in all_of_it)
        calls = sum(injury.calls for injury in all_of_it)
        rows.append(
            (
                kind,
                since,
                str(len(all_of_it)),
                f"{statistics.median(known):.1f} s" if known else "",
                "never" if None in times else f"{max(known):.1f} s",
                f"{failed / max(calls, 1):.0%}",
            )
        )
    return table(("fault", "from", "times", "recovery, median", "longest", "failed"), rows)


def _each(injuries: Sequence[Injury]) -> str:
    rows = []
    for injury in injuries:
        kind, after = injury.slowest
        rows.append(
            (
                injury.kind,
                injury.target,
                f"{injury.ended - injury.began:.1f} s",
                "never" if after is None else f"{after:.1f} s",
                kind if after is None or after > 0 else "",
            )
        )
    return table(("fault", "of", "lasted", "recovery", "slowest"), rows)


def _errors(found: Sequence[Findings]) -> str:
    rows = []
    for kind in RATES:
        faulty = _outcomes(kind, (findings.calls for findings in found))
        calm = _outcomes(kind, (findings.calm for findings in found))
        rows.append((kind, faulty, calm))
    return table(("calls", "while something was broken", "while nothing was"), rows)


def _outcomes(kind: str, counts: Iterable[Counter[tuple[str, str]]]) -> str:
    outcomes: Counter[str] = Counter()
    for counter in counts:
        for (each, outcome), count in counter.items():
            if each == kind:
                outcomes[outcome or "cancelled"] += count
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common()) or "-"


def _rolling(findings: Findings) -> str:
    rolling = findings.rolling
    assert rolling is not None
    failed = sum(rolling.failures.values())
    return paragraph(
        f"{rolling.restarts} restarts with SIGTERM, one replica after the other, under "
        f"{rolling.calls / max(rolling.seconds, 1):.0f} calls a second on all services: "
        f"{rolling.calls:,} calls, {failed} failed, the longest took {rolling.longest:.2f} s."
    )


def _load(found: Sequence[Findings]) -> str:
    rows = [
        (kind, f"{rate:g}", *(f"{findings.rates.get(kind, 0.0):.1f}" for findings in found))
        for kind, rate in RATES.items()
    ]
    held = ("held", "held in namespaces")[: len(found)]
    return table(("calls", "a second", *held), rows)


def _notes(found: Sequence[Findings]) -> str:
    notes = []
    for findings in found:
        notes += [_of_jobs(findings), _of_answers(findings), _of_callers(findings)]
        if findings.ended:
            told = Counter(each.partition(":")[0] for each in findings.ended)
            ends = ", ".join(f"{what} ({count} times)" for what, count in told.items())
            notes.append(f"Ended by itself and started again: {ends}.")
        notes += [f"Logged as an error: {each}." for each in findings.logged[:SHOWN]]
        if findings.omitted:
            notes.append(f"No time was left for {len(findings.omitted)} more faults.")
    return _list([f"- {note}" for note in [*notes, *_not_done()]])


def _of_jobs(findings: Findings) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in findings.failures.items())
    return (
        f"Over {findings.network}: {findings.jobs:,} jobs acknowledged, {findings.due:,} of them "
        f"should succeed or be undone, {findings.succeeded:,} were{' (' + why + ')' if why else ''}"
        f"; the last was over {findings.drained:.1f} s after the last call; {findings.entries:,} "
        "lines of the workers' ledgers."
    )


def _of_answers(findings: Findings) -> str:
    modes = Counter[str]()
    for (_, mode, allowed), count in findings.decisions.items():
        modes[f"{mode} {'allowed' if allowed else 'denied'}"] += count
    decided = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
    return (
        f"Limits: {decided}. Cache: {findings.reads:,} values read, "
        f"{findings.invalidations:,} invalidations acknowledged."
    )


def _of_callers(findings: Findings) -> str:
    return (
        f"The latest answer came {max(findings.slowest, 0.0):.2f} s after its deadline; the "
        f"callers' own loop stood still {findings.stalls} times, {findings.stalled:.2f} s at most."
    )


def _not_done() -> list[str]:
    notes = []
    if not namespaces.possible():
        notes.append("Not root: partitions were of links, and no packet was lost.")
    if not disk.possible():
        notes.append("Not root: no disk was filled.")
    if not clock.possible():
        notes.append("No C compiler: no clock was set.")
    return notes


def _list(lines: Iterable[str]) -> str:
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    )
