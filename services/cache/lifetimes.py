"""How long an entry lives and stays fresh: the rules, without a clock and without chance.

Randomness comes in as a number from 0 (included) to 1 (excluded).
"""

import math
from typing import NamedTuple

from services.cache.policy import TtlClass


class Life(NamedTuple):
    """How long what is written now lives, in milliseconds; None for no end.

    `near` says whether clients may keep copies of it.
    """

    ttl_ms: int | None
    soft_ttl_ms: int | None
    ttl_class: str
    near: bool


def life_in_class(ttl_class: TtlClass, chance: float, *, negative: bool = False) -> Life:
    """Return the life of an entry in a class, shortened by the class's jitter, never lengthened."""
    share = 1.0 - ttl_class.jitter * chance
    name = ttl_class.name
    if negative:
        return Life(_shortened(ttl_class.negative_ttl_ms, share), None, name, near=False)
    ttl = None if ttl_class.ttl_ms is None else _shortened(ttl_class.ttl_ms, share)
    soft = None if ttl_class.soft_ttl_ms is None else _shortened(ttl_class.soft_ttl_ms, share)
    return Life(ttl, soft, name, near=ttl_class.near_max_age_ms is not None)


def life_of(ttl_ms: int) -> Life:
    """Return the life of an entry whose writer said how long: exactly so long, and in no class."""
    return Life(ttl_ms, None, "", near=False)


def _shortened(ttl_ms: int, share: float) -> int:
    return max(1, int(ttl_ms * share))


def refreshes_early(
    *, now_ms: int, soft_expiry_ms: int, compute_ms: int, beta: float, chance: float
) -> bool:
    """Return whether this read should refresh an entry that is still fresh.

    The rule of "Optimal Probabilistic Cache Stampede Prevention" (Vattani, Chierichetti and
    Lowenstein, VLDB 2015): the nearer the end and the longer the computation, the likelier, so that
    of many readers about one begins in time.
    """
    if beta <= 0 or compute_ms <= 0:
        return False
    # 1 - chance is above 0, where the logarithm is defined.
    return now_ms - compute_ms * beta * math.log(1.0 - chance) >= soft_expiry_ms
