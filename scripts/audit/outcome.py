"""How a check ended."""

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """What a check says; also the exit status of the command."""

    CLEAN = 0
    FOUND = 1
    NOT_CHECKED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check found.

    Attributes:
        check: Its name.
        verdict: Whether something is wrong, or could not be looked at.
        summary: One sentence.
        details: A line for each thing that somebody has to look at.

    """

    check: str
    verdict: Verdict
    summary: str
    details: tuple[str, ...] = ()
