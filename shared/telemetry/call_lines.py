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
from typing import Any, ClassVar, NamedTuple, Protocol

from shared.telemetry.lines import LineWriter
from shared.telemetry.masking import mask_fields

ONE_IN = 100

TRACE_ID = slice(3, 35)
"""Where the trace's id stands in 00-<trace id>-<span id>-<flags>."""
ANONYMOUS = "anonymous"
MAX_MESSAGE = 1_000
"""Characters of an error's message that are noted."""
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
    principal: str = ANONYMOUS


class FailedCall(NamedTuple):
    """What is known of a call that did not: with the error as the caller was told of it."""

    method: str
    at: float
    seconds: float
    request_id: str
    tenant: str
    traceparent: str
    code: str
    reason: str
    error: str
    principal: str = ANONYMOUS


Keep = Callable[[Finished | FailedCall], None]
"""Takes what is known of a call, to store it."""


class CallStore(Protocol):
    """Where calls are stored beside the log."""

    def of(self, method: str, *, quiet: bool) -> Keep | None:
        """Return what takes the calls of a method, or None if none are stored."""
        ...


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
        if call.principal != ANONYMOUS:
            event["principal"] = call.principal
        if call.traceparent:
            event["trace_id"] = call.traceparent[TRACE_ID]
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
        fields = {"event": event, **facts, "level": "info", "timestamp": _timestamp(at)}
        return self._render({**mask_fields(None, "info", fields), **self._constants})


class MethodLines:
    """Decides which calls of one method have a line, and go to `keep` as well.

    Those of quiet methods have one for who looks for details.
    """

    __slots__ = ("_keep", "_least_level", "_level", "_method", "_second", "_unwritten", "_written")

    def __init__(self, method: str, *, quiet: bool, keep: Keep | None = None) -> None:
        self._method = method
        self._least_level, self._level = (_DEBUG, "debug") if quiet else (INFO, "info")
        self._keep = keep
        self._second = 0
        self._written = 0
        self._unwritten = 0

    def call_finished(
        self,
        seconds: float,
        request_id: str,
        tenant: str,
        traceparent: str,
        principal: str = ANONYMOUS,
    ) -> None:
        """Note a call that ended well after `seconds`."""
        lines, keep = CallLines.installed, self._keep
        if lines is None:
            return
        has_line = self._least_level >= lines.least_level
        if not has_line and keep is None:
            return
        now = lines.clock()
        if self._second != int(now):
            self._second, self._written = int(now), 0
        if self._written >= lines.per_second and self._unwritten < ONE_IN - 1:
            self._unwritten += 1
            return
        self._written += 1
        stands_for, self._unwritten = self._unwritten + 1, 0
        call = Finished(
            self._method,
            self._level,
            now,
            seconds,
            request_id,
            tenant,
            traceparent,
            stands_for,
            principal,
        )
        if has_line:
            lines.add(call)
        if keep is not None:
            keep(call)

    def call_failed(
        self,
        outcome: tuple[str, str],
        message: str,
        seconds: float,
        request_id: str,
        tenant: str,
        traceparent: str,
        principal: str = ANONYMOUS,
    ) -> None:
        """Note a call that ended with a code and a reason; its line is the pipeline's to write."""
        if self._keep is not None:
            at, error = time.time(), message[:MAX_MESSAGE]
            self._keep(
                FailedCall(
                    self._method,
                    at,
                    seconds,
                    request_id,
                    tenant,
                    traceparent,
                    *outcome,
                    error,
                    principal,
                )
            )


def milliseconds(seconds: float) -> float:
    """Return a duration as log lines have it."""
    return round(seconds * 1000, 3)


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00") + "Z"
