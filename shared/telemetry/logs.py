"""Structured logs: one JSON object a line, or columns for people in a terminal.

Every line carries the service and, inside a call, its request id, tenant and trace, from
`mainstay.context`. Keys that look like secrets are masked whoever logs them.
"""

import logging
import sys
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from mainstay.context import current
from shared.telemetry.lines import LineLogger, LineWriter

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "fatal": 50}
MASK = "***"
_TRACE_ID = slice(3, 35)  # of 00-<trace id>-<span id>-<flags>
_SECRET_WORDS = (
    "authorization",
    "password",
    "secret",
    "token",
    "api_key",
    "apikey",
    "cookie",
    "dsn",
)


def configure_logs(
    service: str,
    *,
    level: str,
    log_format: str,
    environment: str,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and route the standard library's logging through it, once per process."""
    out = stream or sys.stdout
    writer = LineWriter(out)
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _constants(service=service, environment=environment),
        mask_secrets,
    ]
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, _render_json]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(max(LEVELS[level], 10)),
        logger_factory=lambda *_: LineLogger(writer),
        cache_logger_on_first_use=True,
    )
    _route_stdlib([*shared, structlog.stdlib.ExtraAdder()], renderer, out, LEVELS[level])


def _route_stdlib(
    shared: list[Processor], renderer: list[Processor], out: TextIO, level: int
) -> None:
    """Give libraries that use `logging` the same form."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries are heard from warnings on, unless somebody looks for details.
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def _constants(**fields: str) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        for key, value in fields.items():
            event.setdefault(key, value)
        return event

    return add


def add_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the request being worked on; a line that names another one itself keeps that."""
    context = current()
    if context is not None:
        event.setdefault("request_id", context.request_id)
        if context.tenant:
            event.setdefault("tenant", context.tenant)
        if context.traceparent:
            event.setdefault("trace_id", context.traceparent[_TRACE_ID])
    return event


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace values whose key names a secret."""
    for key in event:
        if _is_secret(key):
            event[key] = MASK
    return event


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    # Cached, since the same few keys come with every line.
    lowered = key.lower()
    return any(word in lowered for word in _SECRET_WORDS)


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=_as_text).decode()


def _as_text(value: Any) -> str:
    return str(value)
