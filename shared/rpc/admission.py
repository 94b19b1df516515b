"""Bounded concurrency: what is above the limit is shed at once, with a delay to come back after."""

from mainstay.errors import UnavailableError
from shared.telemetry import metrics

OVERLOADED = "OVERLOADED"
RETRY_AFTER = 0.2


class Admission:
    """Counts calls in flight; those that last, as streams do, have slots of their own."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        self._free = {False: max_calls, True: max_streams}

    def enter(self, *, lasting: bool) -> None:
        """Take a slot or raise."""
        if self._free[lasting] <= 0:
            kind = "streams and long polls" if lasting else "calls"
            raise UnavailableError(
                f"too many {kind} at once; try again after {RETRY_AFTER:g} s or on another replica",
                reason=OVERLOADED,
                retry_after=RETRY_AFTER,
            )
        self._free[lasting] -= 1
        metrics.calls.in_flight += 1

    def leave(self, *, lasting: bool) -> None:
        """Give the slot back."""
        self._free[lasting] += 1
        metrics.calls.in_flight -= 1
