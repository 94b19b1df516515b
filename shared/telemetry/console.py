"""Log lines for people in a terminal, in rows that fit into 80 columns; a call is a row.

::

    09:41:07 info  Cache/Get OK 0.4 ms          0196c0de-1b2c-7d3e-8f40-5a6b7c8d9eaf
    09:41:08 info  Job/SendEvents RESOURCE_EXHAUSTED 1.2 ms
                   0196c0de-2c3d-7e4f-8a50-6b7c8d9eaf01 QUEUE_FULL acme
                   queue "default" has 10,000 jobs; wait or raise its bound
    09:41:09 warn  redis_slow took=1.2

What is the same on every line of a process is left out, and tracebacks show no local variables:
they may hold anything. Secrets are masked in each part by itself, before parts are joined or rows
broken: half a secret does not look like one.
"""

import os
import textwrap
from collections.abc import Iterator
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.telemetry.masking import mask_text

WIDTH = 80
_INDENT = 15
_CALLS = frozenset({"call_finished", "call_failed"})
_NOT_TOLD = frozenset(
    {"event", "level", "timestamp", "service", "environment", "trace_id", "exception"}
)
_OF_CALLS = frozenset({"method", "code", "duration_ms", "error", "stands_for"})
_IDS = ("request_id", "reason", "error_id", "tenant")
_LEVELS = {"warning": "warn"}

_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_RED, _GREEN, _YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"
_COLOURS = {"info": _GREEN, "warning": _YELLOW, "error": _RED, "fatal": _RED}


def console(out: TextIO) -> Processor:
    """Return what makes rows of a line's fields, in colours where `out` shows them."""
    rows = _Rows(colours=out.isatty() and not os.environ.get("NO_COLOR"))

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return rows.render(structlog.processors.format_exc_info(logger, name, event))

    return render


class _Rows:
    """Makes rows of events."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def render(self, event: EventDict) -> str:
        level = str(event.get("level", ""))
        time = str(event.get("timestamp", ""))[11:19]
        head = f"{time} {_LEVELS.get(level, level):<5.5} "
        is_call = event.get("event") in _CALLS and "method" in event
        rows = self._call(event) if is_call else self._other(event)
        first = f"{self._paint(head, _COLOURS.get(level, _DIM))}{rows[0]}"
        below = (f"{' ' * _INDENT}{row}" for row in rows[1:])
        return "\n".join([first, *below, *_text(event, "exception").splitlines()])

    def _call(self, event: EventDict) -> list[str]:
        """Return the rows of a call: what it was and its id, then what else there is to say."""
        code, request_id = _text(event, "code"), _text(event, "request_id")
        what = f"{short_method(_text(event, 'method'))} {code} {_duration(event)}"
        if stands_for := event.get("stands_for"):
            what = f"{stands_for} x {what}"
        painted = self._paint(what, _BOLD if code == "OK" else _YELLOW)
        gap = WIDTH - _INDENT - len(what) - len(request_id)
        others = [*_fields(event, _NOT_TOLD | _OF_CALLS | set(_IDS))]
        if code == "OK" and gap > 0 and not others:
            return [f"{painted}{' ' * gap}{self._paint(request_id, _DIM)}"]
        ids = " ".join(_text(event, name) for name in _IDS if event.get(name))
        return [painted, ids, *_wrapped(_text(event, "error")), *_wrapped(" ".join(others))]

    def _other(self, event: EventDict) -> list[str]:
        """Return the rows of any other event: its name and its fields."""
        name = _text(event, "event")
        told = " ".join([name, *_fields(event, _NOT_TOLD)])
        rows = _wrapped(told) or [""]
        if rows[0].startswith(name):
            rows[0] = f"{self._paint(name, _BOLD)}{rows[0][len(name) :]}"
        return rows

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours and text else text


def short_method(method: str) -> str:
    """Return a method without what all of the suite's have in common."""
    service, _, name = method.rpartition("/")
    return f"{service.rpartition('.')[2].removesuffix('Service')}/{name}"


def _text(event: EventDict, key: str) -> str:
    return mask_text(str(event.get(key, "")))


def _fields(event: EventDict, without: frozenset[str] | set[str]) -> Iterator[str]:
    for key in event:
        if key not in without:
            text = _text(event, key)
            yield f"{key}={text if text and ' ' not in text else repr(text)}"


def _wrapped(text: str) -> list[str]:
    """Return rows of whole words: an id that is broken in two cannot be searched for."""
    return textwrap.wrap(
        text, WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False, tabsize=2
    )


def _duration(event: EventDict) -> str:
    milliseconds = float(event.get("duration_ms", 0.0))
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds >= 1 else f"{milliseconds:.1f} ms"
