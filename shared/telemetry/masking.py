"""Secrets in log lines: masked by the names of keys at any depth, and in texts by their form."""

import re
from functools import lru_cache
from typing import Any

from structlog.typing import EventDict, WrappedLogger

MASK = "***"
_SECRET_WORDS = (
    "authorization",
    "password",
    "secret",
    "token",
    "api_key",
    "apikey",
    "cookie",
    "dsn",
)
_IN_TEXT = re.compile(
    r"(://[^\s/:@\"]*:)[^\s/@\"]+(?=@)"  # the password in a URL
    r"|(\b(?:bearer|basic) )[\w.~+/=-]{6,}"  # an authorization header
    r"|((?:password|passwd|secret|token|api[_-]?key)=)[^\s&,;)\"\\]+",  # queries, reprs, DSNs
    re.IGNORECASE,
)
_CONTAINERS: frozenset[type] = frozenset({dict, list, tuple})


def mask_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace values whose key names a secret."""
    for key, value in event.items():
        if _is_secret(key):
            event[key] = MASK
        elif value.__class__ in _CONTAINERS:
            event[key] = _masked(value)
    return event


def mask_texts(_: WrappedLogger, __: str, line: Any) -> str:
    """Replace what looks like a secret in a line that is ready to be written."""
    # What each of the forms contains: four searches are all that most lines cost.
    if "=" in line or "://" in line or "earer " in line or "asic " in line:
        return _IN_TEXT.sub(lambda match: f"{match[1] or match[2] or match[3]}{MASK}", line)
    return str(line)


def _masked(value: Any) -> Any:
    match value:
        case dict():
            return {k: MASK if _is_secret(str(k)) else _masked(v) for k, v in value.items()}
        case list() | tuple():
            return [_masked(item) for item in value]
        case _:
            return value


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    # Cached, since the same few keys come with every line.
    lowered = key.lower()
    return any(word in lowered for word in _SECRET_WORDS)
