"""Values that travel as JSON text: payloads of events, results of steps and functions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mainstay.jobs.errors import ResultError
from mainstay.jobs.plain_json import plain

JsonValue: TypeAlias = (
    bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)
"""What JSON can hold. Tuples come back as lists."""

MAX_RESULT_BYTES = 1024 * 1024
MAX_PARTIAL_BYTES = 64 * 1024

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_TYPED = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)


_RETURN = (
    "return None, bool, int, float, str, or lists and dicts of these, or annotate the function "
    "with the dataclass or model that it returns"
)
_USE = "use None, bool, int, float, str, lists and dicts of these, dataclasses or models"


def encode(value: object, *, typed: bool = True) -> str:
    """Return `value` as compact JSON text; if `typed`, models and dataclasses as objects.

    Raises ValueError or TypeError for what JSON cannot hold: foreign types, cycles, NaN, infinity
    and text that is not Unicode, such as half of a surrogate pair.
    """
    text = (_TYPED if typed else _STRICT).encode(value)
    text.encode()  # the wire is UTF-8: refuse here what would break the stream later
    return text


def encode_result(value: object, *, of: str, typed: bool = True) -> str:
    """Return a result as JSON text, or raise ResultError naming what it is the result `of`."""
    return _encode(value, f"the result of {of}", MAX_RESULT_BYTES, typed=typed, advice=_RETURN)


def encode_partial(value: object) -> str:
    """Return a partial result as JSON text, or raise ResultError."""
    return _encode(value, "the partial result", MAX_PARTIAL_BYTES, typed=True, advice=_USE)


def encode_payload(value: object, *, of: str) -> str:
    """Return the payload of a job as JSON text, or raise ResultError."""
    return _encode(value, f"the payload of {of}", MAX_RESULT_BYTES, typed=True, advice=_USE)


def _encode(value: object, what: str, limit: int, *, typed: bool, advice: str) -> str:
    try:
        text = encode(value, typed=typed)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"{what} cannot be kept as JSON ({error}); {advice}") from error
    size = len(text.encode())
    if size > limit:
        raise ResultError(
            f"{what} is {size:,} bytes of JSON, more than {limit:,}; "
            "store it elsewhere and return where it is"
        )
    return text


def decode(text: str) -> Any:
    """Return the value of JSON text that Mainstay itself has checked."""
    return json.loads(text)
