"""Lines of what happens by the thousand: noted when it happens, made and written a moment later.

As `call_lines`, for events of any name. Every one has its line: nothing is sampled.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from shared.telemetry.call_lines import INFO, CallLines

log = structlog.get_logger()


def note_line(event: str, facts: Mapping[str, Any]) -> None:
    """Write an informational line soon; `facts` are kept until then and must not change.

    They name the request that the line belongs to, if any: the one being worked on is not added.
    """
    lines = CallLines.installed
    if lines is None:
        # Logging is not set up: in tests, which listen to structlog.
        log.info(event, **facts)
    elif lines.least_level <= INFO:
        lines.add_event(event, facts)
