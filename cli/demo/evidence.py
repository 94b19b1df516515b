"""What the processes left behind: log lines with a request id, spans of a trace."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL = 0.05


def logs_that_name(request_id: str, logs: Iterable[Path]) -> dict[str, str]:
    """Return the first line that holds the request id, for each log that has one."""
    found: dict[str, str] = {}
    for log in logs:
        for line in _lines(log):
            if request_id in line:
                found[log.stem] = line
                break
    return found


def services_in_trace(trace_id: str, files: Iterable[Path]) -> set[str]:
    """Return the names of the processes that have a span in the trace."""
    wanted = trace_id.removeprefix("0x")
    return {
        str(span["resource"]["attributes"]["service.name"])
        for file in files
        for span in map(json.loads, _whole_lines(file))
        if span["context"]["trace_id"].removeprefix("0x") == wanted
    }


async def until(
    look: Callable[[], Awaitable[T]], enough: Callable[[T], bool], *, seconds: float
) -> T:
    """Look again until it is enough or the time is over; returns what was seen last."""
    deadline = time.monotonic() + seconds
    # Other processes' work: there is nothing here to be woken by.
    while not enough(seen := await look()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_INTERVAL)
    return seen


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines() if file.exists() else []


def _whole_lines(file: Path) -> Iterable[str]:
    """Leave out a line that is still being written."""
    text = file.read_text() if file.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
