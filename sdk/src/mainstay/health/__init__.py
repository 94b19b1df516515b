"""The health of the suite: `HealthClient` asks, `mainstay.health.v1` is the wire."""

from mainstay.health.client import HealthClient
from mainstay.health.report import (
    Check,
    Day,
    ErrorBudget,
    Explanation,
    History,
    Incident,
    Maintenance,
    Mode,
    Readiness,
    Replica,
    Report,
    State,
    Uptime,
)

__all__ = [
    "Check",
    "Day",
    "ErrorBudget",
    "Explanation",
    "HealthClient",
    "History",
    "Incident",
    "Maintenance",
    "Mode",
    "Readiness",
    "Replica",
    "Report",
    "State",
    "Uptime",
]
