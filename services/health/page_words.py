"""Figures and moments as people read them; never better than they are."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment: for machines, and for people in UTC."""

    iso: str
    text: str


def moment(when: datetime, now: datetime) -> Moment:
    """Return a moment to the minute; of today without the date, of this year without the year."""
    utc = when.astimezone(UTC)
    clock = f"{utc:%H:%M} UTC"
    if utc.date() == now.astimezone(UTC).date():
        return Moment(iso=_iso(utc), text=f"today {clock}")
    return Moment(iso=_iso(utc), text=f"{day(utc.date(), now)} {clock}")


def clock(when: datetime) -> Moment:
    """Return a moment to the second, without its date."""
    utc = when.astimezone(UTC)
    return Moment(iso=_iso(utc), text=f"{utc:%H:%M:%S} UTC")


def day(when: date, now: datetime) -> str:
    """Return a day, with the year when it is not this one."""
    year = "" if when.year == now.astimezone(UTC).year else f" {when.year}"
    return f"{when.day} {_MONTHS[when.month - 1]}{year}"


def duration(length: timedelta) -> str:
    """Return a duration in its two largest units, the rest cut off: `2 h 5 min`."""
    left = max(0, int(length.total_seconds()))
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):  # noqa: PLR2004 - two units
            break
    return " ".join(parts) or "0 s"


def percent(ratio: float) -> str:
    """Return a share, rounded down: 100% is said of nothing that is less."""
    hundredths = math.floor(round(ratio * 10_000, 6))
    return "100%" if hundredths == 10_000 else f"{hundredths / 100:.2f}%"  # noqa: PLR2004 - 100%


def latency(seconds: float) -> str:
    """Return a latency with two or three digits."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"  # noqa: PLR2004 - two digits


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _iso(utc: datetime) -> str:
    return utc.isoformat(timespec="seconds").replace("+00:00", "Z")
