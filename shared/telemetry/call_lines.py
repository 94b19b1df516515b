"""The line of a call that ended well: noted during the call, made and written a moment later.

Most lines are of this kind, and what structlog does for one costs more than a cache hit itself.
So a call leaves its few facts, and the line is made when it is written (`LineWriter`).

At high rates the lines are samples: beyond so many a second of one method, one in `ONE_IN` calls
has a line, which says for how many it stands. Calls that fail have their line always, and from
the pipeline itself.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from shared.telemetry.lines import LineWriter

ONE_IN = 100

_TRACE_ID = slice(3, 35)  # of 00-<trace id>-<span id>-<flags>
INFO = 20
_DEBUG = 10


class Finished(NamedTuple):
    """What is known of a call that ended well; `at` is when, in seconds since 1970."""

    method: str
    level: str
    at: float
    seconds: float
    request_id: str
    tenant: str
    traceparent: str
    stands_for: int


class CallLines:
    """Where the lines go, and how many of them.

    `render` makes text of a line's fields; `constants` are fields of every line; lines below
    `least_level` (10 debug, 20 info) are not written.
    """

    installed: ClassVar["CallLines | None"] = None
    """The one of this process, once its logging has been set up."""

    def __init__(
        self,
        writer: LineWriter,
        render: Callable[[dict[str, Any]], str],
        constants: dict[str, str],
        *,
        least_level: int,
        per_second: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._render = render
        self._constants = constants
        self.least_level = least_level
        self.per_second = per_second
        self.clock = clock

    def add(self, call: Finished) -> None:
        """Write the line of a call soon."""
        self._writer.add_unmade(self._line, call)

    def _line(self, call: Finished) -> str:
        event: dict[str, Any] = {
            "method": call.method,
            "code": "OK",
            "duration_ms": milliseconds(call.seconds),
            "event": "call_finished",
            "request_id": call.request_id,
            "tenant": call.tenant,
        }
        if call.traceparent:
            event["trace_id"] = call.traceparent[_TRACE_ID]
        if call.stands_for > 1:
            event["stands_for"] = call.stands_for
        event["level"] = call.level
        event["timestamp"] = _timestamp(call.at)
        return self._render(event | self._constants)

    def add_event(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write the line of something else that has happened soon."""
        self._writer.add_unmade(self._event_line, (event, self.clock(), facts))

    def _event_line(self, noted: tuple[str, float, Mapping[str, Any]]) -> str:
        event, at, facts = noted
        return self._render(
            {"event": event, **facts, "level": "info", "timestamp": _timestamp(at)}
            | self._constants
        )


class MethodLines:
    """Decides which calls of one method have a line."""

    __slots__ = ("_least_level", "_level", "_method", "_second", "_unwritten", "_written")

    def __init__(self, method: str, *, quiet: bool) -> None:
        self._method = method
        self._least_level, self._level = (_DEBUG, "debug") if quiet else (INFO, "info")
        self._second = 0
        self._written = 0
        self._unwritten = 0

    def call_finished(self, seconds: float, request_id: str, tenant: str, traceparent: str) -> None:
        """Note a call that ended well after `seconds`."""
        lines = CallLines.installed
        if lines is None or self._least_level < lines.least_level:
            return
        now = lines.clock()
        if self._second != int(now):
            self._second, self._written = int(now), 0
        if self._written >= lines.per_second and self._unwritten < ONE_IN - 1:
            self._unwritten += 1
            return
        self._written += 1
        stands_for, self._unwritten = self._unwritten + 1, 0
        lines.add(
            Finished(
                self._method, self._level, now, seconds, request_id, tenant, traceparent, stands_for
            )
        )


def milliseconds(seconds: float) -> float:
    """Return a duration as log lines have it."""
    return round(seconds * 1000, 3)


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00") + "Z"
