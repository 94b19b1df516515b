"""What `--json` prints: values of clients, with times as in RFC 3339 and lengths in seconds."""

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any


def text(value: object) -> str:
    """Return a value as a line of JSON."""
    return json.dumps(_plain(value), ensure_ascii=False)


def fields_of(value: Any) -> dict[str, Any]:
    """Return the attributes of a value by their names."""
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
            plain = _plain(fields_of(value))
    return plain
