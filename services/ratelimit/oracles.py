"""The rule of each algorithm, by the limit it is asked for.

Whoever keeps the state of a counter outside Redis decides by the same pure functions that the
scripts are held to. A state belongs to its algorithm: when a limit has got another one, what was
consumed is taken over. All times are microseconds since 1970.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from services.ratelimit import fixed_window, gcra, sliding_window
from services.ratelimit.policy import Algorithm, Limit
from services.ratelimit.verdict import Verdict

State = sliding_window.Ring | gcra.Debt | fixed_window.Count
"""What one subject consumed of one limit."""


class Oracle(Protocol):
    """What each algorithm can do; its own module says what."""

    def decide(
        self, state: Any, /, *, now: int, limit: Limit, cost: int, consume: bool
    ) -> tuple[Any, Verdict]: ...

    def charge(
        self, state: Any, /, *, now: int, limit: Limit, cost: int
    ) -> tuple[Any, Verdict]: ...

    def refund(
        self, state: Any, /, *, now: int, limit: Limit, cost: int, admitted_at: int | None
    ) -> tuple[Any, int, Verdict]: ...

    def holding(self, used: int, *, now: int, limit: Limit) -> Any: ...

    def used_at(self, state: Any, /, now: int) -> int: ...


_OF_ALGORITHM: Mapping[Algorithm, tuple[type[State], Oracle]] = {
    Algorithm.SLIDING_WINDOW: (sliding_window.Ring, sliding_window),
    Algorithm.GCRA: (gcra.Debt, gcra),
    Algorithm.FIXED_WINDOW: (fixed_window.Count, fixed_window),
}
_OF_STATE: Mapping[type[State], Oracle] = dict(_OF_ALGORITHM.values())


def decide(
    state: State | None, *, now: int, limit: Limit, cost: int, consume: bool
) -> tuple[State | None, Verdict]:
    """Decide, consume when admitted and asked to, and return the state to keep."""
    oracle, fitting = _fitting(state, now, limit)
    kept, verdict = oracle.decide(fitting, now=now, limit=limit, cost=cost, consume=consume)
    return _kept(state, fitting, kept), verdict


def charge(
    state: State | None, *, now: int, limit: Limit, cost: int
) -> tuple[State | None, Verdict]:
    """Consume whatever the limit says."""
    oracle, fitting = _fitting(state, now, limit)
    kept, verdict = oracle.charge(fitting, now=now, limit=limit, cost=cost)
    return _kept(state, fitting, kept), verdict


def refund(
    state: State | None, *, now: int, limit: Limit, cost: int, admitted_at: int | None
) -> tuple[State | None, int, Verdict]:
    """Give back; returns the state to keep, how much came back, and how it is afterwards."""
    oracle, fitting = _fitting(state, now, limit)
    kept, amount, verdict = oracle.refund(
        fitting, now=now, limit=limit, cost=cost, admitted_at=admitted_at
    )
    return _kept(state, fitting, kept), amount, verdict


def used(state: State | None, *, now: int, limit: Limit) -> int:
    """Return what counts now."""
    return decide(state, now=now, limit=limit, cost=1, consume=False)[1].used


def is_empty(state: State, now: int) -> bool:
    """Return whether all of it has left, whatever the limit is now."""
    return not _OF_STATE[type(state)].used_at(state, now)


def _fitting(state: State | None, now: int, limit: Limit) -> tuple[Oracle, State | None]:
    kind, oracle = _OF_ALGORITHM[limit.algorithm]
    if state is None or type(state) is kind:
        return oracle, state
    taken_over = _OF_STATE[type(state)].used_at(state, now)
    return oracle, oracle.holding(taken_over, now=now, limit=limit)


def _kept(before: State | None, fitting: State | None, kept: State | None) -> State | None:
    """Return what was there unless something is written: a look converts nothing."""
    return before if kept is fitting else kept
