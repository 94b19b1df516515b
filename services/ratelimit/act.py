"""What a subject wants to do, checked before anything else looks at it."""

import re
from dataclasses import dataclass
from typing import Self

from mainstay.errors import ValidationError

MAX_TEXT_BYTES = 256
MAX_COST = 1_000_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act of one subject; `plan` is empty for none."""

    subject: str
    endpoint: str
    plan: str
    cost: int

    @classmethod
    def of(cls, *, subject: str, endpoint: str, plan: str, cost: int) -> Self:
        """Return the act, or raise ValidationError with every field that is wrong.

        Plans are left to the policy, which knows them.
        """
        fields = {"subject": mistake_in(subject), "endpoint": mistake_in(endpoint)}
        if not 1 <= cost <= MAX_COST:
            fields["cost"] = f"is {cost}; give 1 to {MAX_COST:,}, or leave it out for 1"
        mistakes = {field: mistake for field, mistake in fields.items() if mistake}
        if mistakes:
            raise ValidationError("the act cannot be judged", fields=mistakes)
        return cls(subject=subject, endpoint=endpoint, plan=plan, cost=cost)


def mistake_in(text: str) -> str | None:
    """Return what is wrong with a subject or an endpoint."""
    size = len(text.encode())
    if not 1 <= size <= MAX_TEXT_BYTES:
        said = f"has {size:,} bytes" if size else "is empty"
        return f"{said}; give 1 to {MAX_TEXT_BYTES} bytes"
    if _CONTROL.search(text):
        return "contains a control character; leave it out"
    return None
