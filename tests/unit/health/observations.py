"""Observations for tests, and the snapshots that they lead to."""

from datetime import UTC, datetime

from services.health.state import Observation, State

REFUSED = "Refused the connection."
FULL = "8 % of the disk are free."


def observed(at: float, target: str, state: State, message: str = "") -> Observation:
    """Return what a probe saw `at`."""
    return Observation(
        target=target,
        at=at,
        time=datetime.fromtimestamp(at, UTC),
        latency=0.001,
        request_id=f"{target}-{at:g}",
        state=state,
        message=message,
    )


def passed(at: float, target: str = "cache") -> Observation:
    """Return a probe that was answered well."""
    return observed(at, target, State.HEALTHY)


def failed(at: float, target: str = "cache") -> Observation:
    """Return a probe that was not."""
    return observed(at, target, State.UNHEALTHY, REFUSED)


def warned(at: float, target: str = "cache") -> Observation:
    """Return a probe whose target needs care."""
    return observed(at, target, State.DEGRADED, FULL)
