"""Judges a history: pure functions, which tests show histories that break each promise."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.jobs_suite.oracle import Violation
from tests.faults.suite.history import Call, Decision, History, Invalidation, Read, Value

FRESH = "no read brings what was invalidated before it"
BOUNDED = "no limit is exceeded beyond its declared mode"
MODES = "while the counters are away each rule's mode decides"
ANSWERED = "no call hangs beyond its deadline"
RECOVERED = "all kinds of calls recover without a hand"
LIVING = "no process ends by itself"
ROLLING = "a rolling restart fails no call"
PROMISES = (FRESH, BOUNDED, MODES, ANSWERED, RECOVERED, LIVING, ROLLING)

HANG_SECONDS = 1.0
RECOVERY_SECONDS = 15.0
CLEAN_SECONDS = 2.0
COUNTERS = "counters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit of so many in any window of so many seconds, and its failure mode."""

    limit: int
    window: float
    mode: str


def stale(
    reads: Iterable[Read], values: Mapping[str, Value], invalidations: Iterable[Invalidation]
) -> Iterator[Violation]:
    """Yield reads of what had been there before an invalidation that had been acknowledged."""
    by_key: dict[str, list[Invalidation]] = defaultdict(list)
    for each in sorted(invalidations, key=lambda each: each.ended):
        for key in each.keys:
            by_key[key].append(each)
    for read in reads:
        value = values.get(read.value)
        if value is None:
            continue  # its writing was not acknowledged: it may have come at any time
        if value.key != read.key:
            yield Violation(promise=FRESH, what=f"{read.key} brought {read.value}, another's")
        if any(value.settled < each.began for each in by_key[read.key] if each.ended < read.began):
            yield Violation(promise=FRESH, what=f"{read.key} brought {read.value}, invalidated")


def over_limit(
    decisions: Iterable[Decision], rules: Mapping[str, Rule], starts: Sequence[float]
) -> Iterator[Violation]:
    """Yield windows in which more was admitted than the counters, or a rule's mode, may admit.

    Counted is what began and ended within a window: that much was surely decided in it. The
    counters admit the limit in any window. In an outage all replicas together admit up to a
    limit's worth in addition; one that starts meanwhile (`starts`) knows neither what it owes nor
    of others, and may admit one more.
    """
    by_rule: dict[str, list[Decision]] = defaultdict(list)
    for each in decisions:
        if each.allowed:
            by_rule[each.rule].append(each)
    starts = sorted(starts)
    for name, rule in rules.items():
        admitted = by_rule[name]
        counted = [each for each in admitted if each.mode == COUNTERS]
        yield from _exceeded(name, "the counters", counted, rule, _same(rule.limit))
        if rule.mode != "local":
            continue

        local = [each for each in admitted if each.mode == "local"]
        yield from _exceeded(name, "the replicas", local, rule, _with_starts(rule, starts))


def _same(limit: int) -> Callable[[float], int]:
    return lambda _: limit


def _with_starts(rule: Rule, starts: Sequence[float]) -> Callable[[float], int]:
    """Return how much may pass in the window that begins at a moment."""

    def bound(began: float) -> int:
        late = bisect_right(starts, began + rule.window) - bisect_left(starts, began)
        return rule.limit * (1 + late)

    return bound


def _exceeded(
    name: str,
    who: str,
    admitted: Sequence[Decision],
    rule: Rule,
    bound: Callable[[float], int],
) -> Iterator[Violation]:
    """Yield the worst window of each stretch of windows in which too much was admitted."""
    admitted = sorted(admitted, key=lambda each: each.began)
    begins = [each.began for each in admitted]
    told_until = 0.0
    for number, first in enumerate(admitted):
        end = first.began + rule.window
        within = admitted[number : bisect_right(begins, end)]
        count = sum(each.ended <= end for each in within)
        if count > bound(first.began) and first.began >= told_until:
            told_until = end
            what = (
                f"{who} admitted {count} of {name} in {rule.window:g} s from {first.began:.1f}, "
                f"{bound(first.began)} may pass"
            )
            yield Violation(promise=BOUNDED, what=what)


def wrong_modes(decisions: Iterable[Decision], rules: Mapping[str, Rule]) -> Iterator[Violation]:
    """Yield decisions that were made otherwise than the counters or the rule's mode would."""
    for each in decisions:
        mode = rules[each.rule].mode
        if each.mode not in {COUNTERS, mode}:
            yield Violation(promise=MODES, what=f"{each.mode} decided for {each.rule}, not {mode}")
        elif (each.mode, each.allowed) in {("closed", True), ("open", False)}:
            said = "allowed" if each.allowed else "denied"
            yield Violation(promise=MODES, what=f"{each.rule}, which is {mode}, {said}")


def hung(history: History, now: float) -> Iterator[Violation]:
    """Yield calls that took longer than their deadline and a second.

    What the callers' own loop stood still meanwhile is not held against the call.
    """
    for call in history.calls:
        seconds = (now if call.ended is None else call.ended) - call.began
        excess = seconds - call.deadline - HANG_SECONDS
        if excess <= 0:
            continue
        ended = call.began + seconds
        stood = sum(lasted for at, lasted in history.stalls if call.began <= at <= ended)
        if excess > stood:
            what = f"{call.kind} took {seconds:.1f} s with a deadline of {call.deadline:g} s"
            yield Violation(promise=ANSWERED, what=what)


def recovery(calls: Sequence[Call], since: float, *, least: int, now: float) -> float | None:
    """Return after how many seconds calls of a kind succeed again, each of them for a while.

    That is the first moment from which on, for two seconds, at least so many calls begin and all
    of them end well; None when there is no such moment yet. `calls` are in the order of time.
    """
    later = [call for call in calls if call.began >= since]
    starts = [since, *(call.began + 1e-6 for call in later if call.outcome != "ok")]
    for start in starts:
        if start + CLEAN_SECONDS > now:
            break
        within = [call for call in later if start <= call.began < start + CLEAN_SECONDS]
        if len(within) >= least and all(call.outcome == "ok" for call in within):
            return start - since
    return None
