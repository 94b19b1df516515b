"""For how long clients may keep copies of entries."""

from services.cache.entry import Entry
from services.cache.ports import NowMs, Policies


class Copies:
    """Knows it by the class of an entry and the time that is left to it."""

    def __init__(self, policies: Policies, now_ms: NowMs) -> None:
        self._policies = policies
        self._now_ms = now_ms

    def max_age_ms(self, entry: Entry) -> int | None:
        """Return how long a copy may be kept from now; None: not at all.

        Never past its soft expiry or its end, whatever the clocks of clients say.
        """
        if not entry.near:
            return None
        ttl_class = self._policies.current.classes.get(entry.ttl_class)
        if ttl_class is None or ttl_class.near_max_age_ms is None:
            return None
        now = self._now_ms()
        left = [end - now for end in (entry.soft_expiry_ms, entry.expiry_ms) if end is not None]
        longest = min([ttl_class.near_max_age_ms, *left])
        return longest if longest > 0 else None
