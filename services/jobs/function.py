"""Functions as workers declare them."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from services.jobs.retry import Backoff

DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_BACKOFF = Backoff(initial=1.0, maximum=300.0)
MAX_ATTEMPTS = 100
MAX_BACKOFF = 24 * 3600.0

_NAME = re.compile(r"[a-z0-9._/-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition:
    """What a worker can run, what starts it and how often it is tried."""

    name: str
    trigger: str
    max_attempts: int
    backoff: Backoff

    def mistakes(self, events: Collection[str]) -> dict[str, str]:
        """Return what is wrong: field → what would be right. `events` are the known ones."""
        wrong = {}
        if not _NAME.fullmatch(self.name):
            wrong["name"] = "must be 1 to 100 of a-z 0-9 . _ / -"
        if self.trigger not in events:
            wrong["trigger"] = f"must be one of the events with a schema: {', '.join(events)}"
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            wrong["max_attempts"] = f"must be 1 to {MAX_ATTEMPTS}"
        if not 0 <= self.backoff.maximum <= MAX_BACKOFF:
            wrong["max_backoff"] = f"must be 0 to {MAX_BACKOFF:g} s"
        elif not 0 <= self.backoff.initial <= self.backoff.maximum:
            wrong["initial_backoff"] = f"must be 0 to max_backoff ({self.backoff.maximum:g} s)"
        return wrong
