"""What people type, as what clients take; raises UsageError for what makes no sense."""

import re
from datetime import timedelta

_LENGTH = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class UsageError(Exception):
    """The command line cannot be carried out; the message says what to write instead."""


def length(text: str, option: str) -> timedelta:
    """Return a length of time such as 5m."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text!r} should be a whole number and ms, s, m, h or d: 5m")
    try:
        return int(match[1]) * _UNITS[match[2]]
    except OverflowError:
        raise UsageError(f"{option} {text} is too long; 366d is the most there is") from None
