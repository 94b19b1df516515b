"""The report as the JSON document that HTTP clients read."""

from datetime import datetime
from typing import Any

from services.health.rollup import Check, Report


def document(report: Report) -> dict[str, Any]:
    """Return the report with a key for each check; latencies are milliseconds."""
    return {
        "status": report.state.value,
        "timestamp": _timestamp(report.time),
        "checks": {check.target.name: _check(check) for check in report.checks},
    }


def _check(check: Check) -> dict[str, Any]:
    last = check.last
    return {
        "status": check.state.value,
        "latency": round(last.latency * 1000, 3) if last else None,
        "critical": check.target.critical,
        "message": check.message,
        "time": _timestamp(last.time) if last else None,
        "request_id": last.request_id if last else None,
    }


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
