"""Refuses what callers got wrong, all of it at once."""

from collections.abc import Mapping

from mainstay.errors import ValidationError

MAX_NAME = 64
"""Characters of the name of a rule or a plan."""
MAX_REASON = 500
MAX_REQUEST_ID = 128


def refuse(faults: Mapping[str, str | None]) -> None:
    """Raise ValidationError with every field that has a fault, if any has."""
    fields = {field: fault for field, fault in faults.items() if fault}
    if fields:
        sentence = "; ".join(f"{field} {fault}" for field, fault in fields.items())
        raise ValidationError(sentence, fields=fields)


def text_fault(text: str, most: int, *, required: bool = True) -> str | None:
    """Return what is wrong with a text of people, such as a reason."""
    if required and not text.strip():
        return f"is empty; write 1 to {most} characters"
    if len(text) > most:
        return f"has {len(text)} characters; write at most {most}"
    if not text.isprintable():
        return "contains a control character; leave it out"
    return None


def reason_fault(reason: str, *, required: bool) -> str | None:
    """Return what is wrong with the reason of an administrative act."""
    return text_fault(reason, MAX_REASON, required=required)


def request_id_fault(request_id: str) -> str | None:
    """Return what is wrong with the name of a repeatable request; empty is fine."""
    return text_fault(request_id, MAX_REQUEST_ID, required=False)


def range_fault(number: int, lowest: int, highest: int) -> str | None:
    """Return what is wrong with a number."""
    return None if lowest <= number <= highest else f"is {number}; give {lowest:,} to {highest:,}"
