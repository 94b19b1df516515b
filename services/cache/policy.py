"""How long entries live by their kind: the TTL classes that operators keep in a file.

A class is a name for a lifetime, so that the services which write entries of that kind need no
number of their own and operators can change it in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlClass:
    """A kind of data; `ttl_ms` is None where entries live until the store evicts them."""

    name: str
    ttl_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Every class by its name, and the one for writes that give neither a TTL nor a class."""

    classes: Mapping[str, TtlClass]
    default: TtlClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A TTL that the writer gave itself."""

    ttl_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InClass:
    """A TTL by the name of a class, which may not exist."""

    name: str


Expiry: TypeAlias = Lifetime | InClass | None
