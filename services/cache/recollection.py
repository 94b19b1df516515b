"""What this replica remembers of entries, to say why one is gone that the store forgot.

The store forgets an entry whole: of a key that is not there it cannot say whether it ended, was
evicted, or never was. So each replica remembers when the entries end that it wrote or read. What it
says is for people and statistics; nothing is decided by it. Times are milliseconds since 1970.
"""

from typing import Generic, TypeVar

from services.cache.entry import MissReason

CAPACITY = 50_000
# The store ends an entry by its own clock, which ours follows to within some milliseconds.
CLOCK_SLACK_MS = 50
_NEVER = -1

V = TypeVar("V")


class Recollection:
    """Remembers about `capacity` entries, and as many leases, by the hash of their keys.

    Keys have up to 600 bytes, hashes eight. Two keys of one hash meet once in 2^64, and would then
    be given each other's reason.
    """

    __slots__ = ("_ends", "_leases")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._ends: _Newest[int] = _Newest(capacity)
        # Until when the lease lasts, and what was known of the entry when it was granted.
        self._leases: _Newest[tuple[int, int | None]] = _Newest(capacity)

    def note(self, entry_key: bytes, expiry_ms: int | None) -> None:
        """Remember, at every hit and write, when an entry ends; None: never."""
        key = hash(entry_key)
        end = _NEVER if expiry_ms is None else expiry_ms
        if self._ends.young.get(key) != end:
            self._leases.pop(key)
            self._ends.put(key, end)

    def note_lease(self, entry_key: bytes, until_ms: int) -> None:
        """Remember that somebody computes the entry; the next `note` says that it was filled."""
        key = hash(entry_key)
        # Out of the way of `note`, which passes over what it knows already.
        end = self._ends.pop(key)
        before = self._leases.pop(key)
        if end is None and before is not None:
            end = before[1]
        self._leases.put(key, (until_ms, end))

    def forget(self, entry_key: bytes) -> None:
        """Forget an entry that was removed on purpose."""
        key = hash(entry_key)
        self._ends.pop(key)
        self._leases.pop(key)

    def why_missing(self, entry_key: bytes, now_ms: int) -> MissReason:
        """Return the likely reason why the store has nothing under a key."""
        key = hash(entry_key)
        end = self._ends.get(key)
        lease = self._leases.get(key)
        if lease is not None:
            until, end = lease
            if until <= now_ms:
                return MissReason.LEASE_LOST
        if end is None:
            return MissReason.COLD
        if end != _NEVER and end <= now_ms + CLOCK_SLACK_MS:
            return MissReason.EXPIRED
        return MissReason.EVICTED


class _Newest(Generic[V]):
    """The newest of what was put: at least half of `capacity`, and never more than that.

    Two dicts in turn, of which the older is dropped whole. Taking the oldest out of one dict, again
    and again, walks each time over the gaps of all that were taken before.
    """

    __slots__ = ("_half", "_old", "young")

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._old: dict[int, V] = {}
        self.young: dict[int, V] = {}

    def get(self, key: int) -> V | None:
        value = self.young.get(key)
        return self._old.get(key) if value is None else value

    def put(self, key: int, value: V) -> None:
        if len(self.young) >= self._half:
            self._old, self.young = self.young, {}
        self.young[key] = value

    def pop(self, key: int) -> V | None:
        value = self.young.pop(key, None)
        old = self._old.pop(key, None)
        return old if value is None else value
