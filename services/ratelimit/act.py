"""What a subject wants to do, checked before anything else looks at it."""

import re
from typing import NamedTuple, Self

from mainstay.errors import ValidationError

MAX_TEXT_BYTES = 256
MAX_COST = 1_000_000

# A text of so many characters has at most 256 bytes.
_SURELY_SHORT = MAX_TEXT_BYTES // 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Act(NamedTuple):
    """One act of one subject; `plan` is empty where the assigned one is meant."""

    subject: str
    endpoint: str
    plan: str
    cost: int

    @classmethod
    def of(cls, subject: str, endpoint: str, plan: str, cost: int) -> Self:
        """Return the act, or raise ValidationError with every field that is wrong.

        Plans are left to the policy, which knows them.
        """
        if (
            subject.isprintable()
            and endpoint.isprintable()
            and 0 < len(subject) <= _SURELY_SHORT
            and 0 < len(endpoint) <= _SURELY_SHORT
            and 0 < cost <= MAX_COST
        ):
            return cls(subject, endpoint, plan, cost)
        return cls._examined(subject, endpoint, plan, cost)

    @classmethod
    def _examined(cls, subject: str, endpoint: str, plan: str, cost: int) -> Self:
        fields = {"subject": mistake_in(subject), "endpoint": mistake_in(endpoint)}
        if not 1 <= cost <= MAX_COST:
            fields["cost"] = f"is {cost}; give 1 to {MAX_COST:,}, or leave it out for 1"
        mistakes = {field: mistake for field, mistake in fields.items() if mistake}
        if mistakes:
            raise ValidationError("the act cannot be judged", fields=mistakes)
        return cls(subject, endpoint, plan, cost)


def mistake_in(text: str) -> str | None:
    """Return what is wrong with a subject or an endpoint."""
    size = len(text.encode())
    if not 1 <= size <= MAX_TEXT_BYTES:
        said = f"has {size:,} bytes" if size else "is empty"
        return f"{said}; give 1 to {MAX_TEXT_BYTES} bytes"
    if _CONTROL.search(text):
        return "contains a control character; leave it out"
    return None
