"""What a probe saw, made without probing."""

from datetime import UTC, datetime

from services.health.state import Failure, Observation


def passed(at: float, target: str = "cache") -> Observation:
    """Return a probe that ended well at `at`."""
    return Observation(
        target=target,
        at=at,
        time=datetime.fromtimestamp(at, UTC),
        latency=0.001,
        request_id=f"{target}-{at:g}",
    )


def failed(at: float, target: str = "cache") -> Failure:
    """Return a probe that failed at `at`."""
    return Failure(
        target=target,
        at=at,
        time=datetime.fromtimestamp(at, UTC),
        latency=0.001,
        request_id=f"{target}-{at:g}",
        message="Refused the connection.",
    )
