"""Times and durations as the contracts write them."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment for the wire; None leaves the field unset."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def duration(seconds: float | None) -> Duration | None:
    """Return seconds for the wire; None leaves the field unset."""
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds_of(message: Duration) -> float:
    """Return a duration of the wire in seconds."""
    seconds: float = message.seconds + message.nanos / 1e9
    return seconds
