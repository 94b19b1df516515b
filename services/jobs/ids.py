"""Ids of jobs and events: UUIDs of version 7 (RFC 9562), each above the one before."""

from collections.abc import Callable
from uuid import UUID

_FRACTION = 4096
_NANOSECONDS = 1_000_000
_MICROSECONDS = 1_000
_ENTROPY = 8
_AT_ONCE = 256
_VERSION = 7 << 12
_VARIANT = 0b10 << 62
_BELOW_VARIANT = (1 << 62) - 1


class OrderedIds:
    """Makes ids in order: milliseconds, then 4,096ths of one, then 62 random bits.

    `clock` is in nanoseconds since 1970, `entropy` returns so many random bytes; `make` turns 16
    bytes into an id. An id that would not be above the last one takes the next 4,096th instead.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        make: Callable[[bytes], UUID],
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._make = make
        self._last = 0
        self._random = b""

    def next(self) -> UUID:
        """Return the next id."""
        millis, nanos = divmod(self._clock(), _NANOSECONDS)
        tick = millis * _FRACTION + nanos // _MICROSECONDS * _FRACTION // _MICROSECONDS
        self._last = tick = max(tick, self._last + 1)
        high = tick // _FRACTION << 16 | _VERSION | tick % _FRACTION
        low = _VARIANT | int.from_bytes(self._bits(), "big") & _BELOW_VARIANT
        return self._make((high << 64 | low).to_bytes(16, "big"))

    def _bits(self) -> bytes:
        # Asking for a few at a time is half of what an id costs.
        if not self._random:
            self._random = self._entropy(_ENTROPY * _AT_ONCE)
        bits, self._random = self._random[:_ENTROPY], self._random[_ENTROPY:]
        return bits
