"""Structured logs: one JSON object a line, or columns for people in a terminal.

Every line carries the service and, inside a call, its request id, tenant and trace, from
`mainstay.context`. What looks like a secret is masked, whoever logs it.
"""

import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from mainstay.context import current
from shared.telemetry.breadcrumbs import keep_breadcrumb
from shared.telemetry.call_lines import CallLines
from shared.telemetry.console import console
from shared.telemetry.lines import LineLogger, LineWriter
from shared.telemetry.masking import mask_fields, mask_lines

LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "fatal": 50}
# Data classes are written as their repr, whose secrets are masked as texts are.
_JSON_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
MAX_TEXT = 8_000
"""Characters that a text in a line has at most, but for stacks of errors."""

MAX_STACK = 32_000
"""Characters of a stack; what an unexpected error quotes may be megabytes too."""

_TRACE_ID = slice(3, 35)  # of 00-<trace id>-<span id>-<flags>


def configure_logs(
    service: str,
    *,
    level: str,
    log_format: str,
    environment: str,
    successes_per_second: int = 100,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and route the standard library's logging through it, once per process.

    `successes_per_second` is how many lines a second the calls of one method that end well have
    before they are sampled.
    """
    out = stream or sys.stdout
    writer = LineWriter(out)
    for_people = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        add_request,
        _add_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _constants(service=service, environment=environment),
        cut_texts,
        mask_fields,
        keep_breadcrumb,
    ]
    renderer: list[Processor] = (
        [console(out)]
        if for_people
        else [structlog.processors.format_exc_info, cut_stacks, _render_json, mask_lines]
    )
    CallLines.installed = CallLines(
        writer,
        partial(_render, renderer),
        {"service": service, "environment": environment},
        least_level=LEVELS[level],
        per_second=successes_per_second,
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: LineLogger(writer),
        cache_logger_on_first_use=True,
    )
    _route_stdlib([structlog.stdlib.ExtraAdder(), *shared], renderer, out, LEVELS[level])


def _bound_logger(level: int) -> type[Any]:
    """Return a logger that drops what is below `level`; structlog's own know no trace."""

    def trace(self: Any, event: str, **fields: Any) -> None:
        if level <= LEVELS["trace"]:
            self._proxy_to_logger("trace", event, **fields)

    base = structlog.make_filtering_bound_logger(max(level, LEVELS["debug"]))
    return type("Logger", (base,), {"trace": trace})


def _add_level(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Add the level, by the names that the settings have."""
    event = structlog.processors.add_log_level(logger, name, event)
    if event["level"] == "critical":
        event["level"] = "fatal"
    return event


def _render(renderer: Sequence[Processor], event: EventDict) -> str:
    line: Any = event
    for process in renderer:
        line = process(None, "info", line)
    return str(line)


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
    logging.addLevelName(LEVELS["trace"], "TRACE")
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


def cut_texts(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut what is too long for a line: errors repeat what callers send, which may be megabytes."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            event[key] = f"{value[:MAX_TEXT]}… {len(value):,} characters"
    return event


def cut_stacks(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut the stack, from its end alone: what is left of a secret has its name before it."""
    stack = event.get("exception")
    if isinstance(stack, str) and len(stack) > MAX_STACK:
        event["exception"] = f"{stack[:MAX_STACK]}… {len(stack):,} characters"
    return event


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=_as_text, option=_JSON_OPTIONS).decode()
    except TypeError:
        # It is strict about surrogates, large numbers and keys; a line that is odd beats none.
        return json.dumps(event, default=_as_text, skipkeys=True)


def _as_text(value: Any) -> str:
    return str(value)
