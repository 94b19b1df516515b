"""How operators write durations, sizes, shares and numbers; a ValueError says what is wrong."""

import re

from services.cache.limits import MAX_TTL_MS, MIN_TTL_MS

PERMANENT = "permanent"
UNLIMITED = "unlimited"
MAX_JITTER = 0.5
MAX_EARLY_REFRESH = 10.0
MAX_SIZE = 2**50

_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)")
_UNIT_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(%?)")
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,4})?")
_COUNT = re.compile(r"[0-9]{1,3}(_?[0-9]{3}){0,4}|[0-9]{1,15}")


def duration_ms(text: str, *, also: str = "") -> int:
    """Return a duration in milliseconds; `also` says what else could stand there."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"is {_said(text)}; write a whole number and ms, s, m, h or d{also}")
    ms = int(match[1]) * _UNIT_MS[match[2]]
    if not MIN_TTL_MS <= ms <= MAX_TTL_MS:
        raise ValueError(f"is {text}; give 1ms to 366d{also}")
    return ms


def ttl_ms(text: str) -> int | None:
    """Return a lifetime, or None for one without an end."""
    return None if text == PERMANENT else duration_ms(text, also=f", or {PERMANENT}")


def size_bytes(text: str) -> int:
    """Return a size in bytes."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNIT_BYTES[match[2]] if match else 0
    if not 0 < size <= MAX_SIZE:
        raise ValueError(f"is {_said(text)}; write a whole number and KiB, MiB or GiB, up to 1 PiB")
    return size


def count(text: str) -> int:
    """Return a number of things."""
    number = int(text) if _COUNT.fullmatch(text) else 0
    if number < 1:
        raise ValueError(f"is {_said(text)}; write a whole number from 1, such as 1_000_000")
    return number


def jitter(text: str) -> float:
    """Return a share from 0 to 0.5."""
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= MAX_JITTER:
        raise ValueError(f"is {_said(text)}; write 0 to 0.5, or 0% to 50%")
    return share


def early_refresh(text: str) -> float:
    """Return the beta of XFetch."""
    number = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not 0 <= number <= MAX_EARLY_REFRESH:
        raise ValueError(
            f"is {_said(text)}; write 0 for never to {MAX_EARLY_REFRESH:g}, 1 is usual"
        )
    return number


def _said(text: str) -> str:
    return repr(text[:40]) if text else "no scalar"
