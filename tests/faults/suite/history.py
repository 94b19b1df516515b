"""What callers of the suite did and got, kept outside of the system that is tested.

Moments are those of the monotonic clock of the process of the callers, in seconds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Call:
    """A call of the SDK; `ended` is None and `outcome` empty while it is under way.

    The outcome is `ok`, `degraded` where the answer was one of bad times, or the name of an error.
    """

    kind: str
    began: float
    deadline: float
    ended: float | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value of a key that was surely there before `settled`.

    Of one that was written: when that was acknowledged; of one that was computed: when computing
    began, since an invalidation after that has to keep it from being stored.
    """

    key: str
    settled: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """One that was acknowledged."""

    keys: frozenset[str]
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A value that was read through the service."""

    key: str
    value: str
    began: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An answer of the rate limits; `mode` is what decided: counters, or a failure mode."""

    rule: str
    began: float
    ended: float
    allowed: bool
    mode: str


@dataclass(slots=True)
class History:
    """Everything that callers know.

    `stalls` are the moments in which the callers' own loop stood still, with how long: what they
    measured then was they themselves.
    """

    calls: list[Call] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    invalidations: list[Invalidation] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def call(self, kind: str, deadline: float) -> Iterator[Call]:
        """Note a call that is made within the block, which sets its outcome."""
        call = Call(kind=kind, began=time.monotonic(), deadline=deadline)
        self.calls.append(call)
        try:
            yield call
        finally:
            call.ended = time.monotonic()
