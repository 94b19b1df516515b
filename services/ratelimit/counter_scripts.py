"""Which scripts count, and how they want to be told of limits.

A script is put together of the algorithms that a call needs, so that one does not pay for the
others.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from services.ratelimit import fixed_window, gcra
from services.ratelimit.policy import SECOND, Algorithm, Limit
from shared.redis.client import Script

ALWAYS = 2**63
"""Later than any time."""
_MOST_WORDINGS = 8192

_SCRIPT_ORDER = (Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.FIXED_WINDOW)
_BITS = {algorithm: 1 << n for n, algorithm in enumerate(_SCRIPT_ORDER)}
_CALENDAR_BIT = 1 << len(_SCRIPT_ORDER)
_ONE_RING_BIT = _CALENDAR_BIT << 1


class Wording(NamedTuple):
    """A limit in the words of the scripts.

    Attributes:
        limit: The limit.
        parts: What the script for it is made of, as bits.
        enforced: Algorithm, `0` for not in shadow, window and quota.
        watched: The same in shadow.
        plain: The same without that.
        begin: From when this holds, in microseconds since 1970; 0 for always.
        end: Until when, exclusive: a calendar's bounds are different then.

    """

    limit: Limit
    parts: int
    enforced: tuple[bytes, ...]
    watched: tuple[bytes, ...]
    plain: tuple[bytes, ...]
    begin: int
    end: int


class Wordings:
    """Remembers the wordings of the limits in use, by their identity."""

    def __init__(self) -> None:
        self._known: dict[int, Wording] = {}

    def of(self, limit: Limit, now: int) -> Wording:
        """Return the wording of a limit, of which a calendar's holds at `now`."""
        wording = self._known.get(id(limit))
        # The wording keeps its limit alive, so that no other one can have its identity.
        if wording is not None and wording.begin <= now < wording.end:
            return wording
        if len(self._known) >= _MOST_WORDINGS:
            self._known.clear()
        wording = self._known[id(limit)] = _worded(limit, now)
        return wording


@lru_cache(maxsize=64)
def decide_script(parts: int) -> Script:
    """Return the script that decides with these parts."""
    return _script(parts, "decide", ())


@lru_cache(maxsize=64)
def charge_script(parts: int) -> Script:
    """Return the script that charges with these parts."""
    return _script(parts, "charge", ())


@lru_cache(maxsize=64)
def refund_script(parts: int) -> Script:
    """Return the script that gives back with these parts."""
    return _script(parts, "refund", ("refund",))


ScriptOf = Callable[[int], Script]


def alone(parts: int) -> int:
    """Return the parts of a decision about a single charge: those of a sliding window are fewer."""
    return parts | _ONE_RING_BIT if parts == _BITS[Algorithm.SLIDING_WINDOW] else parts


def follows_calendar(parts: int) -> bool:
    """Return whether the script wants to know when its bounds hold."""
    return bool(parts & _CALENDAR_BIT)


def _script(parts: int, driver: str, extras: tuple[str, ...]) -> Script:
    names = ["calendar_clock" if follows_calendar(parts) else "clock"]
    names += ["one_ring", "counter"] if parts & _ONE_RING_BIT else ["counter"]
    for algorithm in _SCRIPT_ORDER:
        if parts & _BITS[algorithm]:
            names += [algorithm.value, *(f"{algorithm.value}_{extra}" for extra in extras)]
    return Script.load("services.ratelimit", *(f"lua/{name}.lua" for name in (*names, driver)))


def _worded(limit: Limit, now: int) -> Wording:
    begin, end, parts = 0, ALWAYS, _BITS[limit.algorithm]
    quota = limit.quota
    if limit.algorithm is Algorithm.SLIDING_WINDOW:
        window = str(limit.window // SECOND)
    elif limit.algorithm is Algorithm.GCRA:
        window, quota = str(gcra.emission_interval(limit)), gcra.burst(limit)
    elif limit.calendar is None:
        window = str(limit.window)
    else:
        begin, end = fixed_window.bounds(limit, now)
        window, parts = f"{begin} {end}", parts | _CALENDAR_BIT
    name, size = limit.algorithm.value.encode(), (window.encode(), str(quota).encode())
    return Wording(
        limit, parts, (name, b"0", *size), (name, b"1", *size), (name, *size), begin, end
    )
