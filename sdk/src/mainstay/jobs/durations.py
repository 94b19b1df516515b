"""Lengths of time as users write them: seconds, or a timedelta."""

from datetime import timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration as WireDuration

Duration: TypeAlias = float | timedelta
"""Seconds, or a `timedelta`."""


def in_seconds(duration: Duration) -> float:
    """Return the length in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def to_wire(seconds: float) -> WireDuration:
    """Return so many seconds for the wire, to the microsecond."""
    duration = WireDuration()
    duration.FromMicroseconds(round(seconds * 1_000_000))
    return duration
