"""Figures and constants as people write them."""

from datetime import UTC, datetime, timedelta

_STEPS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SIZES = ("KiB", "MiB", "GiB")
_LARGEST = "TiB"
_STEP = 1024


def length(span: timedelta) -> str:
    """Return a length of time in its two greatest units, such as 2 h 5 min."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    parts, rest = [], int(seconds)
    for unit, size in _STEPS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


def size(number: int) -> str:
    """Return a number of bytes, such as 1.5 MiB."""
    if number < _STEP:
        return f"{number} B"
    figure = number / _STEP
    for unit in _SIZES:
        if figure < _STEP:
            return f"{figure:.1f} {unit}"
        figure /= _STEP
    return f"{figure:.1f} {_LARGEST}"


def moment(time: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def words(constant: str) -> str:
    """Return a constant such as `invalidated_by_tag` as words."""
    return constant.replace("_", " ")
