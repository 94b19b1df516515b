"""What the workers of the suite did, kept outside of the system that is tested.

Every worker process appends to a file of its own, a line for each thing it does, before or after it
does it. A line is one write, so that it is whole even if the process is killed the moment after.
Moments are those of the monotonic clock, which all processes of a machine share and nobody sets.
"""

import json
import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class What(StrEnum):
    """What a line tells."""

    TURN = "turn"
    """A function was called; `value` is `rollback` when that is to undo its steps."""
    BEGIN = "begin"
    """The code of a step begins."""
    END = "end"
    """The code of a step is about to return `value`."""
    GOT = "got"
    """A step returned to its function: `value` was acknowledged, now or earlier."""
    UNDO = "undo"
    """What undoes a step begins, given `value`."""
    UNDONE = "undone"
    """What undoes a step is about to return."""
    LEFT = "left"
    """The function is about to return, or has raised what `value` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a ledger; `epoch` counts the assignments of a job and is part of their tokens."""

    at: float
    worker: str
    what: What
    job_id: str
    function: str
    epoch: int
    attempt: int
    step: str = ""
    value: Any = None


class Ledger:
    """The ledger of this process."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.worker = worker
        path = folder / f"{worker}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, what: What, **facts: Any) -> None:
        """Write a line."""
        line = {"at": time.monotonic(), "worker": self.worker, "what": what, **facts}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(folder: Path) -> list[Entry]:
    """Return the lines of all ledgers in the order of time."""
    entries = [
        Entry(**json.loads(line) | {"what": What(json.loads(line)["what"])})
        for path in folder.glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sorted(entries, key=lambda entry: entry.at)
