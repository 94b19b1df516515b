"""Reads a file of locked requirements."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / "requirements" / "runtime.txt"

_LINE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?:\s*;\s*(.+?))?\s*\\?$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A package in one version, and whether this platform needs it."""

    name: str
    version: str
    needed_here: bool


def requirements(file: Path = RUNTIME) -> Iterator[Requirement]:
    """Yield what a file locks."""
    for name, version, marker in _LINE.findall(file.read_text(encoding="utf-8")):
        needed = not marker or Marker(marker).evaluate()
        yield Requirement(name=name, version=version, needed_here=needed)
