"""Values that travel as JSON text: payloads of events, results of steps and functions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mainstay.jobs.errors import ResultError

JsonValue: TypeAlias = (
    bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)
"""What JSON can hold. Tuples come back as lists."""

MAX_RESULT_BYTES = 1024 * 1024


def encode(value: object) -> str:
    """Return `value` as compact JSON text.

    Raises ValueError or TypeError for what JSON cannot hold: foreign types, cycles, NaN, infinity
    and text that is not Unicode, such as half of a surrogate pair.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()  # the wire is UTF-8: refuse here what would break the stream later
    return text


def encode_result(value: object, *, of: str) -> str:
    """Return a result as JSON text, or raise ResultError naming what it is the result `of`."""
    try:
        text = encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(
            f"the result of {of} cannot be kept as JSON ({error}); "
            "return None, bool, int, float, str, or lists and dicts of these"
        ) from error
    size = len(text.encode())
    if size > MAX_RESULT_BYTES:
        raise ResultError(
            f"the result of {of} is {size:,} bytes of JSON, more than {MAX_RESULT_BYTES:,}; "
            "store it elsewhere and return where it is"
        )
    return text


def decode(text: str) -> Any:
    """Return the value of JSON text that Mainstay itself has checked."""
    return json.loads(text)
