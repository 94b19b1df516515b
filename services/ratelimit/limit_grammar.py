"""How operators write limits: `20/min`, `10/s 200/min`, `5.00/month`, `3`, `unlimited`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from services.ratelimit.policy import (
    DAY,
    MAX_FIXED_QUOTA,
    MAX_QUOTA,
    MAX_WINDOW,
    SECOND,
    UNLIMITED,
    Algorithm,
    Calendar,
    Limit,
    Limits,
    Measure,
    Rule,
)

WITHOUT_LIMIT = "unlimited"
UTC = "UTC"
MAX_LIMITS = 8
"""Of one rule for one plan: every one is a counter that a check asks."""
MAX_PLACES = 100_000
"""Of a concurrency limit: every one that is held is an entry of its own in the store."""

_UNITS = {
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3_600 * SECOND,
    "d": DAY,
    "w": 7 * DAY,
    "month": 30 * DAY,
}
_CALENDARS = {calendar.value: calendar for calendar in Calendar}
_NUMBER = r"[0-9]{1,3}(?:_[0-9]{3}){1,5}|[0-9]{1,16}"
_WINDOW = r"/([0-9]{1,8})?(s|min|h|d|w|month)"
_RATE = re.compile(f"({_NUMBER}){_WINDOW}")
_MONEY = re.compile(rf"((?:{_NUMBER})(?:\.[0-9]{{1,6}})?){_WINDOW}")
_PLACES = re.compile(_NUMBER)
_MICROS = 1_000_000

# A rate of gcra is a time between two acts, in whole microseconds and rounded up: below ten of them
# the rounding would take more than a tenth away.
_SHORTEST_EMISSION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitGrammar:
    """What a rule's limits have in common, and so need not say each.

    Attributes:
        algorithm: How they count.
        measure: What they count; money is written in US dollars.
        burst: With gcra, how much may come at once; 0 for the quota.
        time_zone: Of the calendar that a fixed window follows.

    """

    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    measure: Measure = Measure.COST
    burst: int = 0
    time_zone: str = UTC

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Return the grammar that a rule's own limits follow."""
        limit = next((limit for limits in _all_limits(rule) for limit in limits), None)
        return cls(
            algorithm=rule.algorithm,
            measure=rule.measure,
            burst=0 if limit is None else limit.burst,
            time_zone=UTC if limit is None else limit.time_zone,
        )

    def read(self, text: str) -> Limits:
        """Return the limits that a text says; a ValueError says what is wrong with it."""
        if text == WITHOUT_LIMIT:
            return UNLIMITED
        if self.algorithm is Algorithm.CONCURRENCY:
            return (self._places(text),)
        parts = text.split()
        if not 1 <= len(parts) <= MAX_LIMITS:
            raise self._unreadable(text)
        limits = tuple(map(self._limit, parts))
        windows = [limit.window for limit in limits]
        if len(set(windows)) < len(windows):
            raise ValueError(f"is {text[:40]!r}, two of one window; keep the smaller")
        return limits

    def _places(self, text: str) -> Limit:
        places = int(text) if _PLACES.fullmatch(text) else 0
        if not 1 <= places <= MAX_PLACES:
            raise ValueError(
                f"is {_said(text)}; write 1 to {MAX_PLACES:,} places, or {WITHOUT_LIMIT}"
            )
        return Limit(quota=places, window=0, algorithm=self.algorithm, written=text)

    def _limit(self, text: str) -> Limit:
        money = self.measure is Measure.MONEY
        match = (_MONEY if money else _RATE).fullmatch(text)
        if match is None:
            raise self._unreadable(text)
        quota = int(Decimal(match[1]) * (_MICROS if money else 1))
        limit = Limit(
            quota=quota,
            window=int(match[2] or 1) * _UNITS[match[3]],
            algorithm=self.algorithm,
            burst=self.burst,
            calendar=self._calendar(match[2], match[3]),
            time_zone=self.time_zone,
            written=text,
        )
        self._check(limit)
        return limit

    def _calendar(self, multiple: str | None, unit: str) -> Calendar | None:
        """Follow the calendar with a window of one day, week or month."""
        if self.algorithm is Algorithm.FIXED_WINDOW and int(multiple or 1) == 1:
            return _CALENDARS.get(unit)
        return None

    def _check(self, limit: Limit) -> None:
        if not 1 <= limit.quota <= self._most:
            raise ValueError(f"admits {limit.written.split('/')[0]}; give {self._quotas()}")
        if not SECOND <= limit.window <= MAX_WINDOW:
            days = MAX_WINDOW // DAY
            raise ValueError(f"has the window {limit.written.split('/')[1]}; give 1s to {days}d")
        if self.algorithm is Algorithm.GCRA:
            self._check_gcra(limit)

    @staticmethod
    def _check_gcra(limit: Limit) -> None:
        if limit.window < limit.quota * _SHORTEST_EMISSION:
            most = f"{SECOND // _SHORTEST_EMISSION:,}/s"
            raise ValueError(f"is {limit.written}; with gcra give at most {most}")
        emission = -(-limit.window // limit.quota)
        if limit.burst > limit.quota and limit.burst * emission > MAX_WINDOW:
            days = MAX_WINDOW // DAY
            raise ValueError(
                f"is {limit.written}, at which a burst of {limit.burst} takes more than {days} "
                "days to come back; give a smaller burst"
            )

    @property
    def _most(self) -> int:
        return MAX_FIXED_QUOTA if self.algorithm is Algorithm.FIXED_WINDOW else MAX_QUOTA

    def _quotas(self) -> str:
        most = f"1 to {self._most}"
        if self.measure is Measure.MONEY:
            most = f"0.000001 to {Decimal(self._most) / _MICROS} US dollars"
        if self.algorithm is Algorithm.FIXED_WINDOW:
            return most
        return f"{most}, or the algorithm {Algorithm.FIXED_WINDOW.value} for more"

    def _unreadable(self, text: str) -> ValueError:
        if self.measure is Measure.MONEY:
            examples = "one in US dollars such as 5.00/month"
        else:
            examples = "one such as 20/min or 5/5min, several as 10/s 200/min"
        return ValueError(f"is {_said(text)}; write {examples}, or {WITHOUT_LIMIT}")


def _all_limits(rule: Rule) -> Iterator[Limits]:
    yield rule.default
    yield from rule.plans.values()
    for own in rule.tenants.values():
        yield own.default or UNLIMITED
        yield from own.plans.values()


def _said(text: str) -> str:
    return repr(text[:40]) if text else "no limit"
