"""What Envoy asks in one call, and what it is told."""

from collections.abc import Sequence
from typing import NamedTuple

from services.ratelimit.decision import Decision, LimitState
from services.ratelimit.envoy_policy import EnvoyEntry


class EnvoyLimit(NamedTuple):
    """A limit of one request's own: a quota, and its window as the policy would write it.

    Attributes:
        quota: How much; with 0 the request may not pass.
        window: Such as `1min` or `30s`.

    """

    quota: int
    window: str


class EnvoyDescriptor(NamedTuple):
    """What Envoy asks for.

    Attributes:
        entries: The path in the domain's tree.
        hits: How much it weighs; 0 only looks.
        gives_back: The hits are given back.
        limit: What holds instead of the policy's limit; None for that.

    """

    entries: Sequence[EnvoyEntry]
    hits: int = 1
    gives_back: bool = False
    limit: EnvoyLimit | None = None


class EnvoyOutcome(NamedTuple):
    """What was decided about a descriptor; the state is None when no counter was asked."""

    over_limit: bool = False
    state: LimitState | None = None


class EnvoyAnswer(NamedTuple):
    """What was decided about a request; the decision is None when no counter decided."""

    outcomes: Sequence[EnvoyOutcome]
    decision: Decision | None = None

    @property
    def over_limit(self) -> bool:
        """Return whether the request may not pass."""
        return any(outcome.over_limit for outcome in self.outcomes)
