"""From the messages of the contract to the domain."""

import re
from datetime import datetime, timedelta
from uuid import UUID

from mainstay.errors import ValidationError
from mainstay.health.v1 import health_service_pb2 as pb
from services.health.maintenance import Maintenance, Mode
from services.health.target import SUITE
from shared.pages import forged, page_key

LONGEST_MAINTENANCE = timedelta(days=30)
SHORTEST_MAINTENANCE = timedelta(seconds=1)
MAX_REASON = 200
MAX_NAME = 300

_MODES = {
    pb.MODE_DRAIN: Mode.DRAIN,
    pb.MODE_MAINTENANCE: Mode.MAINTENANCE,
}
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")


def target_name(name: str) -> str:
    """Return the name that is meant: empty is the whole."""
    if len(name) > MAX_NAME:
        raise ValidationError(
            f"target has {len(name)} characters; the names are in GetReport",
            fields={"target": f"at most {MAX_NAME} characters"},
        )
    return name or SUITE


def incident_cursor(token: str) -> tuple[str, str] | None:
    """Return the start time and the id of the incident that a page begins after."""
    key = page_key(token, str, str)
    if key is None:
        return None
    start_time, incident_id = map(str, key)
    try:
        datetime.fromisoformat(start_time)
        UUID(incident_id)
    except ValueError:
        raise forged() from None
    return start_time, incident_id


def maintenance(request: pb.SetMaintenanceRequest, now: datetime) -> Maintenance | None:
    """Return what is to be set, or None for an end; raises ValidationError."""
    if request.mode == pb.MODE_NONE:
        return None
    fields: dict[str, str] = {}
    mode = _MODES.get(request.mode)
    if mode is None:
        fields["mode"] = "one of MODE_NONE, MODE_DRAIN, MODE_MAINTENANCE"
    span = _span(request, fields)
    reason = request.reason.strip()
    if not (0 < len(reason) <= MAX_REASON and _PRINTABLE.fullmatch(reason)):
        fields["reason"] = f"1 to {MAX_REASON} printable characters: people will read it"
    if fields or mode is None:
        named = ", ".join(sorted(fields))
        raise ValidationError(f"the maintenance is not valid: see {named}", fields=fields)
    return Maintenance(
        target=target_name(request.target),
        mode=mode,
        start_time=now,
        end_time=now + span,
        reason=reason,
    )


def _span(request: pb.SetMaintenanceRequest, fields: dict[str, str]) -> timedelta:
    seconds = request.duration.seconds + request.duration.nanos / 1e9
    if not SHORTEST_MAINTENANCE.total_seconds() <= seconds <= LONGEST_MAINTENANCE.total_seconds():
        fields["duration"] = "1 second to 30 days: a maintenance ends by itself"
        return SHORTEST_MAINTENANCE
    return timedelta(seconds=seconds)
