"""What `--json` prints: the client's values, with times as in RFC 3339 and lengths in seconds."""

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from mainstay.cache.results import Hit, Result


def text(value: object) -> str:
    """Return a value as a line of JSON."""
    return json.dumps(_plain(value), ensure_ascii=False)


def read(found: Result) -> dict[str, Any]:
    """Return the answer to a read; the value as text, or as base64 where it is none."""
    if not isinstance(found, Hit):
        return {"found": False, "reason": found.reason}
    document = {"found": True, **_fields(found)}
    try:
        document["value"] = found.value.decode()
    except UnicodeDecodeError:
        del document["value"]
        document["value_base64"] = found.value
    return document


def inspected(found: Any) -> dict[str, Any]:
    """Return what is known of an entry, without the value that is not part of it."""
    document = _fields(found)
    if found.entry is not None:
        document["entry"] = _fields(found.entry)
        del document["entry"]["value"]
    return document


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    plain = value
    match value:
        case datetime():
            plain = value.isoformat()
        case timedelta():
            plain = value.total_seconds()
        case Enum():
            plain = value.value
        case bytes():
            plain = base64.b64encode(value).decode("ascii")
        case Mapping():
            plain = {_plain(name): _plain(part) for name, part in value.items()}
        case tuple():
            plain = [_plain(part) for part in value]
        case _ if is_dataclass(value):
            plain = _plain(_fields(value))
    return plain
