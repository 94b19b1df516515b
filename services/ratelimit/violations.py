"""Denials, put together: what one subject did again and again within a moment is one violation.

All times are microseconds since 1970, by the store's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.ratelimit.decision import DenialReason

MAX_DISTINCT = 10_000
"""Violations that are held until they are taken along, which is every second."""


class Offence(NamedTuple):
    """What is one violation.

    Attributes:
        tenant: Whose data it is.
        subject: Who was denied.
        rule: By which rule.
        endpoint: On which endpoint.
        plan: On which plan; empty for none.
        reason: Why.
        shadow: Whether the rule only watched, so that the act went ahead.

    """

    tenant: str
    subject: str
    rule: str
    endpoint: str
    plan: str
    reason: DenialReason
    shadow: bool


@dataclass(slots=True, kw_only=True)
class Violation:
    """An offence, and how often it happened.

    Attributes:
        offence: What happened.
        count: How often.
        first_at: When first.
        last_at: When last.
        request_id: The call in which it happened first; empty when that is not known.
        limit: The limit that denied then, as the policy writes it.

    """

    offence: Offence
    count: int
    first_at: int
    last_at: int
    request_id: str
    limit: str


class Place(NamedTuple):
    """Where a violation stands in the list: when it began, and what tells it from others then."""

    start: int
    number: int


class ViolationQuery(NamedTuple):
    """Which violations; an empty subject or rule means all of them. `end` is exclusive."""

    subject: str
    rule: str
    start: int
    end: int


class Violations:
    """Violations since the last time they were taken along, of a bounded number."""

    __slots__ = ("_held", "_max_distinct")

    def __init__(self, max_distinct: int = MAX_DISTINCT) -> None:
        self._max_distinct = max_distinct
        self._held: dict[Offence, Violation] = {}

    def again(self, offence: Offence, at: int) -> bool:
        """Count an offence that is held already; False when it is not."""
        violation = self._held.get(offence)
        if violation is None:
            return False
        violation.count += 1
        # Replicas of the store may disagree about the time.
        violation.first_at = min(violation.first_at, at)
        violation.last_at = max(violation.last_at, at)
        return True

    def begin(self, offence: Offence, at: int, *, request_id: str, limit: str) -> bool:
        """Hold a new offence; False when there is no room for it."""
        if len(self._held) >= self._max_distinct:
            return False
        self._held[offence] = Violation(
            offence=offence, count=1, first_at=at, last_at=at, request_id=request_id, limit=limit
        )
        return True

    def drain(self) -> Sequence[Violation]:
        """Return all that is held, and begin anew."""
        drained, self._held = self._held, {}
        return list(drained.values())
