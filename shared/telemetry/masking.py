"""Secrets in log lines: masked by the names of keys at any depth, and in texts by their form."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from structlog.typing import EventDict, WrappedLogger

MASK = "***"
MAX_DEPTH = 12
"""Deeper than this nothing is looked into, nor written: it may contain itself."""

_SECRET_WORDS = (
    "authorization",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "privatekey",
    "credential",
    "cookie",
    "dsn",
)
# What the stack is made of, whose text is masked as texts are. As a list nobody would know it.
_ERROR = "exc_info"
_PLAIN: frozenset[type] = frozenset({str, int, float, bool, type(None)})

# A name that ends in one of these, whatever stands before it, and what may stand between it and the
# value: in queries and DSNs (=), headers (:), JSON and reprs (quotes), tuples. A quote may be
# escaped, many times over: JSON in JSON.
_NAME = (
    r"(?:password|passwd|passphrase|secret(?:[_-]?access)?(?:[_-]?key)?|token|api[_-]?key"
    r"|access[_-]?key|private[_-]?key|authorization|credentials?|dsn)"
)
_QUOTE = r"\\*[\"']"
_BETWEEN = rf"(?:(?:{_QUOTE})?\s*[=:]\s*|{_QUOTE},\s*(?:value=)?)(?:b(?={_QUOTE}))?"
# To a quote as the one before it, but never over one that ends a text of JSON: of backslashes, two
# are one, and the last of an odd number belongs to what follows.
_QUOTED = r"(?:(?!(?P=escape)(?P=quote))(?:(?:\\\\)*\\[^\\]|(?:\\\\)+(?!\\)|[^\"\\]))*"
# To what ends a value in queries, reprs and DSNs.
_BARE = r"(?:(?:bearer|basic|digest)\s+)?(?:[^\s&,;)}\]\"'\\]|\\\\|\\[^\"'\\nrt])+"
_PEM = r"PRIVATE KEY(?: BLOCK)?-----"
_ALONE = r"(?<![A-Za-z0-9_-])"

# Of each form, the group is what may be read.
_URL = re.compile(
    # The password, to the last @ of the word; a port before a path is none.
    r"(://[^\s/:@\"']{0,256}:(?!\d{1,5}[/?#]))[^\s\"']{1,256}(?=@)"
    r"|((?<=http)://|(?<=https)://)[^\s/:@\"']{1,256}(?=@)"  # a DSN's key, a token as the user
)
_NAMED = re.compile(
    rf"({_NAME}{_BETWEEN}(?P<escape>\\*)(?P<quote>[\"'])){_QUOTED}"
    rf"|({_NAME}{_BETWEEN}){_BARE}"
    rf"|(cookie(?:{_QUOTE})?(?:\s*[=:]|,)\s*(?:value=)?(?:{_QUOTE})?)[^\"'\r\n\\]+",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(\b(?:bearer|basic) )[\w.~+/=-]{6,}", re.IGNORECASE)
_BLOCK = re.compile(
    rf"(-----BEGIN (?:[A-Z0-9]+ ){{0,4}}{_PEM})(?:(?!-----END)(?:[\w+/=\s:,-]|\\[nr\\]))*"
    rf"(?:-----END (?:[A-Z0-9]+ ){{0,4}}{_PEM})?"
)
# What says of itself what it is: JSON web tokens, keys of AWS, ours, and those of AI providers.
_KEY = re.compile(
    rf"({_ALONE}eyJ)[\w-]{{8,}}\.[\w.-]+|({_ALONE}A[KS]IA)[A-Z0-9]{{12,}}"
    rf"|({_ALONE}[ms]k[-_])[\w-]{{6,}}"
)
# Parts of the names, of which a text has to contain one.
_OF_NAMES = ("pass", "secret", "token", "key", "authoriz", "credential", "cookie", "dsn")


def mask_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace values whose key names a secret."""
    for key, value in event.items():
        if _is_secret(key):
            event[key] = MASK
        elif value.__class__ not in _PLAIN and key != _ERROR:
            event[key] = mask_values(value)
    return event


def mask_lines(_: WrappedLogger, __: str, line: Any) -> str:
    """Replace what looks like a secret in a line of JSON that is ready to be written."""
    # What each of the forms contains: these searches are all that most lines cost, and those for
    # one character next to nothing. Colons with a space, and backslashes, stand in texts alone.
    if (
        "=" in line
        or "@" in line
        or "'" in line
        or "\\" in line
        or (" " in line and (": " in line or "earer " in line or "asic " in line or "---" in line))
        or ("J" in line and "eyJ" in line)
        or ("A" in line and ("AKIA" in line or "ASIA" in line))
        or "k_" in line
        or "k-" in line
    ):
        return mask_text(line)
    return str(line)


def mask_text(text: str) -> str:
    """Replace what looks like a secret in a text of any form."""
    if "@" in text:
        text = _URL.sub(_masked, text)
    lowered = text.lower()
    if any(part in lowered for part in _OF_NAMES):
        text = _NAMED.sub(_masked, text)
    if "earer " in lowered or "asic " in lowered:
        text = _SCHEME.sub(_masked, text)
    if "-----BEGIN" in text:
        text = _BLOCK.sub(_masked, text)
    if "eyJ" in text or "AKIA" in text or "ASIA" in text or "k_" in text or "k-" in text:
        text = _KEY.sub(_masked, text)
    return text


def mask_values(value: Any, depth: int = 0) -> Any:
    """Return a copy without the values whose keys name a secret, at any depth."""
    if depth > MAX_DEPTH:
        return "..."
    match value:
        case Mapping():
            return {
                key: MASK if _is_secret(str(key)) else mask_values(inner, depth + 1)
                for key, inner in value.items()
            }
        case tuple() if hasattr(value, "_asdict"):
            return mask_values(value._asdict(), depth + 1)
        case list() | tuple():
            return [mask_values(item, depth + 1) for item in value]
        case _:
            return value


def mask_everything(value: Any, depth: int = 0) -> Any:
    """Return a copy without secrets: by the names of keys, and in every text by their form."""
    if depth > MAX_DEPTH:
        return "..."
    match value:
        case str():
            return mask_text(value)
        case Mapping():
            return {
                mask_text(str(key)): MASK
                if inner and _is_secret(str(key))
                else mask_everything(inner, depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [mask_everything(item, depth + 1) for item in value]
        case _:
            return value


def is_secret(name: str) -> bool:
    """Return whether what has this name is a secret."""
    return _is_secret(name)


def _masked(match: re.Match[str]) -> str:
    return f"{match[match.lastindex or 0]}{MASK}"


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    # Cached, since the same few keys come with every line.
    lowered = key.lower().replace("-", "_")
    return any(word in lowered for word in _SECRET_WORDS)
