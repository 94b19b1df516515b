"""How often the same thing is told: pure, the time is an argument.

A service that fails a thousand calls a second has one fault, not a thousand. The first reports of
each error in a minute go out; of the rest the number goes with the next one.
"""

from collections import OrderedDict
from dataclasses import dataclass

PER_ERROR = 5
"""Reports of one error in a minute."""

IN_ALL = 60
"""Reports of all errors in a minute."""

MINUTE = 60.0
MAX_ERRORS = 256
"""Errors that are told apart; of more, the one seen longest ago is forgotten."""


@dataclass(slots=True)
class _Window:
    began: float
    reported: int = 0
    held_back: int = 0


class Rate:
    """Lets the first few things of every second through."""

    __slots__ = ("_count", "_most", "_second")

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = self._count = 0

    def admits(self, now: float) -> bool:
        """Return whether one more may be; `now` is in seconds."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= self._most


class ReportRate:
    """Lets so many reports pass in a minute, of each error and in all."""

    def __init__(self, *, per_error: int = PER_ERROR, in_all: int = IN_ALL) -> None:
        self._per_error = per_error
        self._in_all = in_all
        self._all: _Window | None = None
        self._errors: OrderedDict[object, _Window] = OrderedDict()

    def take(self, error: object, now: float) -> int | None:
        """Return how many of `error` were held back before this one; None to hold this back too.

        `now` is in seconds, on a clock that does not go back.
        """
        window = self._window(error, now)
        everything = self._everything(now)
        if window.reported >= self._per_error or everything.reported >= self._in_all:
            window.held_back += 1
            return None
        window.reported += 1
        everything.reported += 1
        held_back, window.held_back = window.held_back, 0
        return held_back

    def _window(self, error: object, now: float) -> _Window:
        window = self._errors.setdefault(error, _Window(now))
        self._errors.move_to_end(error)
        if now - window.began >= MINUTE:
            window.began, window.reported = now, 0
        if len(self._errors) > MAX_ERRORS:
            self._errors.popitem(last=False)
        return window

    def _everything(self, now: float) -> _Window:
        if self._all is None or now - self._all.began >= MINUTE:
            self._all = _Window(now)
        return self._all
