"""Shares of a limit that are at hand: pure, with the time as an argument in seconds."""

from collections import deque
from dataclasses import dataclass

from mainstay.ratelimit.results import Decision, TokenReservation

# Clocks of different machines agree on a length of time to much better than this.
_CLOCK_MARGIN = 0.05
_AGEING = 0.75
UNLIMITED_AMOUNT = 2**62


@dataclass(slots=True, kw_only=True)
class Share:
    """What may still be spent of one reservation.

    Attributes:
        token: Names the reservation; empty when nothing was reserved because nothing is counted.
        left: How much.
        ages: From when on another should take its place.
        ends: From when on it may not be spent.
        decision: What was decided when it was taken.

    """

    token: str
    left: int
    ages: float
    ends: float
    decision: Decision


def reserved(reservation: TokenReservation, decision: Decision, sent: float) -> Share:
    """Return a share as a reservation gives it, that was asked for at `sent`."""
    # Its time began after `sent`, and ends here a little before it ends at the service.
    usable = reservation.ttl.total_seconds() * (1 - _CLOCK_MARGIN)
    return Share(
        token=reservation.token,
        left=reservation.amount,
        ages=sent + usable * _AGEING,
        ends=sent + usable,
        decision=decision,
    )


def unnamed(decision: Decision, sent: float, seconds: float, amount: int) -> Share:
    """Return a share that nobody counts, and of which nothing can come back."""
    return Share(
        token="",
        left=amount,
        ages=sent + seconds * _AGEING,
        ends=sent + seconds,
        decision=decision,
    )


class Shares:
    """The shares of one spender, the oldest first.

    Together they never hold more than `size`, or the largest cost that was asked for.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # Half is left for the time that the next one takes to come.
        self._enough = max(1, size // 2)
        self._shares: deque[Share] = deque()

    def take(self, cost: int, now: float) -> Decision | None:
        """Spend `cost`, from the oldest first; None: there is less than that, and none is spent."""
        shares = self._shares
        if not shares:
            return None
        first = shares[0]
        if first.left > cost > 0 and now < first.ends:
            first.left -= cost
            return first.decision
        return self._take_from_several(cost, now)

    def _take_from_several(self, cost: int, now: float) -> Decision | None:
        if cost < 1 or self.held(now) < cost:
            return None
        decision = None
        for share in list(self._shares):
            if now < share.ends:
                taken = min(cost, share.left)
                share.left -= taken
                cost -= taken
                decision = share.decision
                if not share.left:
                    # Nothing of it can come back, so nobody needs to be told.
                    self._shares.remove(share)
            if not cost:
                break
        return decision

    def held(self, now: float) -> int:
        """Return how much may be spent."""
        return sum(share.left for share in self._shares if now < share.ends)

    def lacking(self, now: float) -> int:
        """Return how much to reserve now so that it is at hand when it is needed; 0: enough is."""
        young = 0
        for share in self._shares:
            if now < share.ages:
                young += share.left
        return 0 if young >= self._enough else self._size - young

    def add(self, share: Share, now: float) -> list[Share]:
        """Add a share, and return those whose place it takes."""
        self._shares.append(share)
        replaced = []
        for old in list(self._shares)[:-1]:
            if self.held(now) <= self._size:
                break
            if old.ages <= now:
                self._shares.remove(old)
                replaced.append(old)
        return replaced

    def remove_ended(self, now: float) -> list[Share]:
        """Return those that may not be spent any more."""
        ended = [share for share in self._shares if share.ends <= now]
        for share in ended:
            self._shares.remove(share)
        return ended

    def remove_all(self) -> list[Share]:
        """Return all."""
        shares = list(self._shares)
        self._shares.clear()
        return shares

    def next_end(self) -> float | None:
        """Return when the next one may not be spent any more."""
        return min((share.ends for share in self._shares), default=None)
