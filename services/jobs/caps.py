"""Budgets of starts: how many more jobs may begin by a cap or a rate."""

import hashlib
from dataclasses import dataclass

Budgets = dict["Budget", int]
"""How many more jobs may start from each budget."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How many jobs of a function may run at once, or of one key of it.

    `tenant` is whose function it is, `*` for that of all; of a cap by key, whose jobs they are.
    """

    tenant: str
    function: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A budget that the rate limit service keeps."""

    tenant: str
    endpoint: str
    subject: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Jobs of a lane with a rate that go on: they have drawn on it when they started."""

    function: str
    tenant: str
    version: str
    key: str


Budget = Cap | Rate | Begun


def rate_of(endpoint: str, subject: str, *, tenant: str, key: str) -> Rate:
    """Return what a start of a job draws from; `subject` is as the function declares it."""
    if not subject:
        return Rate(tenant, endpoint, f"tenant:{tenant}")
    if subject.startswith("/"):
        return Rate(tenant, endpoint, f"key:{_visible(key)}")
    return Rate(tenant, endpoint, subject)


def _visible(key: str) -> str:
    """Return a key as a subject may have it: without control characters."""
    if key.isprintable():
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def left(budgets: Budgets, drawn_from: tuple[Budget, ...], *, at_most: int) -> int:
    """Return how many may start that draw from all of these; one that is not listed is empty."""
    return min((budgets.get(budget, 0) for budget in drawn_from), default=at_most)


def draw(budgets: Budgets, drawn_from: tuple[Budget, ...]) -> None:
    """Note that one more starts."""
    for budget in drawn_from:
        budgets[budget] -= 1
