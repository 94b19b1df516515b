"""Text with the values of descriptor entries in it, such as `user:{user_id}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

_PLACE = re.compile(r"\{([^{}]+)\}")
# What percent-encoding leaves as it is; whatever else a template holds cannot be part of a value.
_KEPT = re.compile(r"[A-Za-z0-9_.~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyTemplate:
    """A text with places for values.

    Different values never make the same text: the value of a single place stands as it is, those
    of several are percent-encoded, and what separates them is something that encoding removes.

    Attributes:
        texts: What stands before, between and after the places.
        keys: The keys whose values belong in the places; one less than texts.

    """

    texts: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template; raises ValueError saying what is wrong with it."""
        parts = _PLACE.split(text)
        texts, keys = tuple(parts[::2]), tuple(parts[1::2])
        if any("{" in part or "}" in part for part in texts):
            raise ValueError("has a brace without its other half; write a key as {user_id}")
        if any(_KEPT.fullmatch(between) for between in texts[1:-1]):
            raise ValueError(
                "has nothing between two keys that tells them apart; write one of : / |"
            )
        return cls(texts=texts, keys=keys)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the values of the keys."""
        if len(self.keys) == 1:
            return f"{self.texts[0]}{values[self.keys[0]]}{self.texts[1]}"
        encoded = (quote(values[key], safe="") for key in self.keys)
        return self.texts[0] + "".join(
            value + text for value, text in zip(encoded, self.texts[1:], strict=True)
        )
