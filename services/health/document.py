"""The report and the verdicts as the JSON documents that HTTP clients read.

Everybody may read states and latencies. What explains them (messages, addresses of replicas, ids)
are `details`, for those who may see them.
"""

from datetime import datetime
from typing import Any

from services.health.maintenance import Maintenance
from services.health.rollup import Check, Report
from services.health.verdict import Verdict


def document(report: Report, *, details: bool) -> dict[str, Any]:
    """Return the report with a key for each check; latencies are milliseconds."""
    found: dict[str, Any] = {
        "status": report.state.value,
        "timestamp": timestamp(report.time),
        "checks": {check.target.name: _check(check, details=details) for check in report.checks},
    }
    if details and report.maintenance is not None:
        found["maintenance"] = _maintenance(report.maintenance)
    return found


def verdict_document(verdict: Verdict, *, details: bool) -> dict[str, Any]:
    """Return what a balancer is told about a name."""
    found = {
        "name": verdict.name,
        "status": verdict.state.value,
        "advice": verdict.advice.value,
        "open": verdict.open,
    }
    return found | {"message": verdict.message} if details else found


def timestamp(moment: datetime) -> str:
    """Return a time as RFC 3339 has it, in UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check(check: Check, *, details: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"status": check.state.value, "latency": _latency(check)}
    if details:
        found |= _details(check) | {
            "critical": check.target.critical,
            "needs": check.target.needs,
            "uses": check.target.uses,
            "because": check.because,
        }
        if check.replicas:
            found["replicas"] = {each.target.name: _replica(each) for each in check.replicas}
    return found


def _replica(check: Check) -> dict[str, Any]:
    return {"status": check.state.value, "latency": _latency(check), **_details(check)}


def _details(check: Check) -> dict[str, Any]:
    maintenance = check.maintenance
    return {
        "message": check.message,
        "request_id": check.found_by or None,
        "time": timestamp(check.last.time) if check.last else None,
        "since": timestamp(check.since) if check.since else None,
        "maintenance": _maintenance(maintenance) if maintenance else None,
    }


def _latency(check: Check) -> float | None:
    return round(check.last.latency * 1000, 3) if check.last else None


def _maintenance(maintenance: Maintenance) -> dict[str, Any]:
    return {
        "mode": maintenance.mode.value,
        "reason": maintenance.reason,
        "start_time": timestamp(maintenance.start_time),
        "end_time": timestamp(maintenance.end_time),
    }
