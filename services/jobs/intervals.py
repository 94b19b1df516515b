"""Seconds, as this service counts time, and the intervals of the database."""

from datetime import timedelta


def seconds_of(interval: timedelta) -> float:
    """Return an interval as seconds."""
    return interval.total_seconds()


def interval_of(seconds: float) -> timedelta:
    """Return seconds as an interval."""
    return timedelta(seconds=seconds)
