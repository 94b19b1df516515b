"""How long to wait before the next attempt."""

from dataclasses import dataclass

# 2**63 seconds are far beyond every allowed maximum; the cap keeps the power from overflowing.
_MAX_DOUBLINGS = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double, in seconds; 0 <= initial <= maximum."""

    initial: float
    maximum: float

    def wait(self, failures: int, random: float) -> float:
        """Return the wait after the `failures`-th failure, from 1; `random` is in [0, 1).

        Half of the doubled wait is certain and half is chance ("equal jitter", as described in
        the AWS builders' library), so that jobs that failed together do not return together, and
        none returns at once. For initial 1 s: 0.5-1 s, 1-2 s, 2-4 s, …
        """
        doubled: float = self.initial * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return min(doubled, self.maximum) * (0.5 + random / 2)
