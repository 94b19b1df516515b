"""What another policy would have done with the checks of the last minutes.

Both policies judge the same checks from empty counters, each by the rules that the scripts are held
to. What is compared is the one with the other, not with what was decided then: before the recording
begins subjects had consumed something that nobody knows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.ratelimit import oracles
from services.ratelimit.oracles import State
from services.ratelimit.overrides import Override
from services.ratelimit.policy import NO_PLAN, Limits, Match, Policy
from services.ratelimit.traffic import RecordedCheck
from shared.rpc.call import Tenant

MAX_SUBJECTS = 50


class OverridesUnder(Protocol):
    """What overrides mean under any policy."""

    def find_under(
        self, policy: Policy, tenant: Tenant, rule: str, subject: str
    ) -> Override | None:
        """Return the override of a subject on a rule."""
        ...


class RulePreview(NamedTuple):
    """The checks that one rule of the new policy covers, and how many each policy denies."""

    rule: str
    checks: int
    denied_before: int
    denied_after: int


class SubjectPreview(NamedTuple):
    """The checks of one subject that one rule of the new policy covers and denies more often."""

    subject: str
    rule: str
    denied_before: int
    denied_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would change.

    Attributes:
        rules: Those that change most first.
        subjects: Those that are denied more often than before, the most affected first.
        replayed: How many checks were replayed.

    """

    rules: Sequence[RulePreview]
    subjects: Sequence[SubjectPreview]
    replayed: int


class Replay:
    """Judges checks one after the other by two policies, and counts the denials of each."""

    def __init__(self, before: Policy, after: Policy, overrides: OverridesUnder) -> None:
        self._before = _Judge(before, overrides)
        self._after = _Judge(after, overrides)
        self._checks: Counter[tuple[str, str]] = Counter()
        self._denied_before: Counter[tuple[str, str]] = Counter()
        self._denied_after: Counter[tuple[str, str]] = Counter()

    def judge(self, check: RecordedCheck, count: int) -> None:
        """Judge so many checks that are alike; none is earlier than those before."""
        denied_before, _ = self._before.denied(check, count)
        denied_after, rule = self._after.denied(check, count)
        what = (rule, check.subject)
        self._checks[what] += count
        self._denied_before[what] += denied_before
        self._denied_after[what] += denied_after

    def preview(self) -> Preview:
        """Return what was found."""
        subjects = [
            SubjectPreview(subject, rule, self._denied_before[rule, subject], after)
            for (rule, subject), after in self._denied_after.items()
            if after > self._denied_before[rule, subject]
        ]
        subjects.sort(key=lambda each: (each.denied_before - each.denied_after, each.subject))
        return Preview(
            rules=self._rules(),
            subjects=subjects[:MAX_SUBJECTS],
            replayed=self._checks.total(),
        )

    def _rules(self) -> Sequence[RulePreview]:
        checks = _by_rule(self._checks)
        before, after = _by_rule(self._denied_before), _by_rule(self._denied_after)
        rules = [RulePreview(rule, checks[rule], before[rule], after[rule]) for rule in checks]
        rules.sort(key=lambda it: (-abs(it.denied_after - it.denied_before), -it.checks, it.rule))
        return rules


class _Judge:
    """One policy with counters of its own."""

    def __init__(self, policy: Policy, overrides: OverridesUnder) -> None:
        self._policy = policy
        self._overrides = overrides
        self._states: dict[tuple[str, str, int], State | None] = {}
        self._limits: dict[tuple[str, str, str], tuple[Match, Limits]] = {}

    def denied(self, check: RecordedCheck, count: int) -> tuple[int, str]:
        """Return how many of the checks the policy denies, and by which rule it judges them."""
        match, limits = self._found(check)
        rule = match.rule.name
        for admitted in range(count if limits else 0):
            if not self._admits(rule, limits, check):
                # The others come at the same moment and find the same. A rule in shadow is judged
                # as if it were not: what it would do is what a preview is asked for.
                return count - admitted, rule
        return 0, rule

    def _admits(self, rule: str, limits: Limits, check: RecordedCheck) -> bool:
        decided = [
            oracles.decide(
                self._states.get((rule, check.subject, position)),
                now=check.at,
                limit=limit,
                cost=check.cost,
                consume=True,
            )
            for position, limit in enumerate(limits)
        ]
        # All or nothing: what one limit denies is consumed on none.
        if not all(verdict.admits for _, verdict in decided):
            return False
        for position, (state, _) in enumerate(decided):
            self._states[rule, check.subject, position] = state
        return True

    def _found(self, check: RecordedCheck) -> tuple[Match, Limits]:
        plan = check.plan if self._policy.knows_plan(check.plan) else NO_PLAN
        key = (check.endpoint, check.subject, plan)
        found = self._limits.get(key)
        if found is None:
            match = self._policy.match(check.tenant, check.endpoint, plan)
            override = self._overrides.find_under(
                self._policy, check.tenant, match.rule.name, check.subject
            )
            limits = match.limits if override is None else override.limits
            found = self._limits[key] = (match, limits)
        return found


def _by_rule(counts: Mapping[tuple[str, str], int]) -> Counter[str]:
    by_rule: Counter[str] = Counter()
    for (rule, _), count in counts.items():
        by_rule[rule] += count
    return by_rule
