"""What happened before an unexpected error: the newest log events of a process, kept for reports.

Lines of successful calls are no part of it: they are by the thousand, and say nothing went wrong.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from structlog.typing import EventDict, WrappedLogger

from shared.telemetry.masking import mask_text

KEPT = 500
"""Events that are remembered, of all requests together."""

SHOWN = 30
"""Events that a report has, of its own request and of none."""

MAX_TEXT = 500
_MAX_FIELDS = 20
_OWN = frozenset({"event", "level", "timestamp", "service", "environment"})
# A traceback keeps alive whatever its frames hold.
_NOT_KEPT = frozenset({"exc_info", "exception", "stack_info", "_record", "_from_structlog"})
_LEVELS = {"trace": "debug", "fatal": "fatal"}


class Event(NamedTuple):
    """One log event; `at` is in seconds since 1970."""

    at: float
    fields: dict[str, Any]


class Breadcrumbs:
    """The newest events of this process."""

    installed: ClassVar["Breadcrumbs | None"] = None
    """The one of this process, where reports go somewhere."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)

    def add(self, fields: dict[str, Any], *, at: float) -> None:
        """Remember an event; the fields are copied, and cut to texts when somebody asks."""
        kept = {key: value for key, value in fields.items() if key not in _NOT_KEPT}
        self._events.append(Event(at, kept))

    def of(self, request_id: str, *, but: str = "") -> list[dict[str, Any]]:
        """Return the newest events of a request and of no request, the oldest first.

        Those of other requests stay out: they may be another tenant's. `but` is the id of the
        error that is being reported, whose own line would tell nothing new.
        """
        mine = (
            event
            for event in reversed(self._events)
            if event.fields.get("request_id", request_id) == request_id
            and not (but and event.fields.get("error_id") == but)
        )
        newest = [event for event, _ in zip(mine, range(SHOWN), strict=False)]
        return [_crumb(event) for event in reversed(newest)]


def keep_breadcrumb(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Remember a log event, where reports go somewhere."""
    if Breadcrumbs.installed is not None:
        Breadcrumbs.installed.add(dict(event), at=time.time())
    return event


def _crumb(event: Event) -> dict[str, Any]:
    level = str(event.fields.get("level", "info"))
    return {
        "timestamp": event.at,
        "type": "default",
        "category": "log",
        "level": _LEVELS.get(level, level),
        "message": _text(event.fields.get("event", "")),
        "data": dict(_data(event.fields)),
    }


def _data(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    told = [(key, value) for key, value in fields.items() if key not in _OWN]
    for key, value in told[:_MAX_FIELDS]:
        yield key, _text(value)


def _text(value: Any) -> str:
    # Masked first: half a secret might not look like one.
    return mask_text(str(value)[: 10 * MAX_TEXT])[:MAX_TEXT]
