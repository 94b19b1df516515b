"""What people type, as what clients take; raises UsageError for what makes no sense."""

import re
from datetime import timedelta

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
# Each at most once, the greatest first.
_LENGTH = re.compile("".join(f"(?:([0-9]{{1,12}}){unit})?" for unit in _UNITS))


class UsageError(Exception):
    """The command line cannot be carried out; the message says what to write instead."""


def length(text: str, option: str) -> timedelta:
    """Return a length of time such as 5m or 1h30m."""
    match = _LENGTH.fullmatch(text)
    if not text or match is None:
        raise UsageError(
            f"{option} {text!r} should be whole numbers and d, h, m, s or ms: 5m, 1h30m"
        )
    try:
        numbers = zip(match.groups(), _UNITS.values(), strict=True)
        return sum((int(number or 0) * unit for number, unit in numbers), start=timedelta())
    except OverflowError:
        raise UsageError(f"{option} {text} is too long; 366d is the most there is") from None


def length_back(text: str, option: str, *, most: timedelta) -> timedelta:
    """Return how far to look back: some time, and not more than `most`."""
    span = length(text, option)
    if not timedelta() < span <= most:
        raise UsageError(f"{option} {text} should be longer than nothing and at most {most.days}d")
    return span
