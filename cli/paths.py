"""Paths as people read them."""

from pathlib import Path


def shown(path: Path) -> str:
    """Return the path as it can be typed here: relative below this directory, else in full."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
