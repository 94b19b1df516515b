"""What the replicas wrote that they should not have to write, whatever happens to them."""

import json
from collections import Counter
from pathlib import Path

_LEVELS = {"error", "fatal"}
_LOST = "never retrieved"


def unexpected(folder: Path) -> list[str]:
    """Return the errors in the logs of replicas, and exceptions that nobody took anywhere."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.log"):
        for line in path.read_text(errors="replace").splitlines():
            event, level = _parsed(line)
            if level in _LEVELS or _LOST in event:
                found[f"{path.stem.split('-')[0]}: {event[:200]}"] += 1
    return [f"{event} ({count} times)" for event, count in found.items()]


def _parsed(line: str) -> tuple[str, str]:
    """Return event and level of a line; workers write plain ones, without a level."""
    try:
        fields = json.loads(line)
        return str(fields["event"]), str(fields["level"])
    except (ValueError, KeyError, TypeError):
        return line, ""
