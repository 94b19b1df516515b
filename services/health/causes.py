"""Why a target is as it is, and who else is hit: a walk over the graph of needs, pure."""

from dataclasses import dataclass

from services.health.rollup import Check, Report
from services.health.state import State
from services.health.target import SUITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a target is as it is.

    Attributes:
        name: The target, or `suite`.
        summary: Why, in one sentence.
        check: What is known of the target; None of the whole.
        root_causes: The checks of those that failed by themselves, ordered by name; itself last.
        blast_radius: Who needs it, directly or through others, ordered by name.

    """

    name: str
    summary: str
    check: Check | None
    root_causes: tuple[Check, ...]
    blast_radius: tuple[str, ...]


def explain(report: Report, name: str) -> Explanation | None:
    """Return why a target, a replica or the whole (`suite`) is as it is, or None."""
    if name == SUITE:
        return _explain_whole(report)
    check = report.check(name)
    if check is None:
        return None
    causes = tuple(found for cause in check.because if (found := report.check(cause)))
    roots = (*causes, *((check,) if check.own is not State.HEALTHY else ()))
    return Explanation(
        name=name,
        summary=_sentence(name, check.state, roots, itself=check),
        check=check,
        root_causes=roots,
        blast_radius=blast_radius(report, name),
    )


def blast_radius(report: Report, name: str) -> tuple[str, ...]:
    """Return the targets that need `name`, directly or through others, ordered by name."""
    hit: set[str] = set()
    pending = [name]
    while pending:
        needed = pending.pop()
        for check in report.checks:
            dependent = check.target.name
            if needed in check.target.needs and dependent not in hit:
                hit.add(dependent)
                pending.append(dependent)
    return tuple(sorted(hit - {name}))


def _explain_whole(report: Report) -> Explanation:
    causes = {
        cause: found
        for check in report.checks
        if check.own is not State.MAINTENANCE and not check.planned
        for cause in (check.because or (check.target.name,))
        if (found := report.check(cause)) and found.own is not State.HEALTHY
    }
    roots = tuple(causes[cause] for cause in sorted(causes))
    return Explanation(
        name=SUITE,
        summary=_sentence("The suite", report.state, roots, itself=None),
        check=None,
        root_causes=roots,
        blast_radius=(),
    )


def _sentence(name: str, state: State, roots: tuple[Check, ...], *, itself: Check | None) -> str:
    if not roots:
        return f"{name} is {state.value}."
    if itself is not None and roots == (itself,):
        return f"{name} is {state.value}: {itself.message}"
    because = ", ".join(f"{each.target.name} ({_short(each)})" for each in roots if each != itself)
    by_itself = f" By itself: {itself.message}" if itself in roots and itself is not None else ""
    return f"{name} is {state.value} because of {because}.{by_itself}"


def _short(root: Check) -> str:
    return f"{root.own.value}: {root.message}".rstrip(".")
