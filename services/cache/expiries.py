"""From what a writer said to how long the entry lives."""

from typing import assert_never

from mainstay.errors import PreconditionError
from services.cache.entry import Entry, Kind
from services.cache.lifetimes import Life, life_in_class, life_of
from services.cache.limits import ttl_fault
from services.cache.policy import CachePolicy, Expiry, InClass, Lifetime, TtlClass


def life(
    policy: CachePolicy, expiry: Expiry, chance: float, *, negative: bool = False
) -> tuple[Life, dict[str, str | None]]:
    """Return how long an entry lives, and what is wrong with what the writer said.

    `chance` is a random number from 0 to 1 for the jitter of the class. With `negative` it is the
    knowledge that there is nothing. With a fault the life is any.
    """
    match expiry:
        case None:
            return life_in_class(policy.default, chance, negative=negative), {}
        case Lifetime(ttl_ms=ttl_ms):
            return life_of(ttl_ms), {"ttl": ttl_fault(ttl_ms)}
        case InClass(name=name):
            ttl_class, fault = class_named(policy, name)
            return life_in_class(ttl_class, chance, negative=negative), {"ttl_class": fault}
        case _:
            assert_never(expiry)


def class_named(policy: CachePolicy, name: str) -> tuple[TtlClass, str | None]:
    """Return a class of the policy; for an unknown one the default class and what is wrong."""
    found = policy.classes.get(name)
    if found is not None:
        return found, None
    known = ", ".join(sorted(policy.classes))
    return policy.default, f"{name[:64]!r} is unknown; known are {known}"


def life_again(policy: CachePolicy, entry: Entry, expiry: Expiry, chance: float) -> Life:
    """Return how long an entry lives from now on whose value stays.

    Where nothing is said, as its own class says. `expiry` is one without a fault. Raises
    PreconditionError where an entry that ends would become permanent, or the other way round.
    """
    if expiry is None and entry.ttl_class in policy.classes:
        expiry = InClass(name=entry.ttl_class)
    lived, _ = life(policy, expiry, chance, negative=entry.kind is Kind.NEGATIVE)
    if (lived.ttl_ms is None) == (entry.expiry_ms is None):
        return lived
    # Permanent entries are evicted by an index of their class that others are not in.
    kind, way = ("has no end", "a TTL") if entry.expiry_ms is None else ("ends", "no end")
    raise PreconditionError(
        f"the entry {kind} and cannot be given {way} while its value stays; write it anew instead",
        reason="WRITE_ANEW",
    )
