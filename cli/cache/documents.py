"""What `mainstay cache ... --json` prints of what was found."""

from typing import Any

from cli.documents import fields_of
from mainstay.cache.results import Hit, Result


def read(found: Result) -> dict[str, Any]:
    """Return the answer to a read; the value as text, or as base64 where it is none."""
    if not isinstance(found, Hit):
        return {"found": False, "reason": found.reason}
    document = {"found": True, **fields_of(found)}
    try:
        document["value"] = found.value.decode()
    except UnicodeDecodeError:
        del document["value"]
        document["value_base64"] = found.value
    return document


def inspected(found: Any) -> dict[str, Any]:
    """Return what is known of an entry, without the value that is not part of it."""
    document = fields_of(found)
    if found.entry is not None:
        document["entry"] = fields_of(found.entry)
        del document["entry"]["value"]
    return document
