"""Whether this instance may be asked: from nothing but its own state, never from its targets'."""

import time
from collections.abc import Callable
from enum import StrEnum

from services.health.snapshot import Snapshot


class Phase(StrEnum):
    """Where in its life this instance is."""

    STARTING = "starting"
    SERVING = "serving"
    STALLED = "stalled"
    DRAINING = "draining"


class Instance:
    """Judges this instance.

    `started` and `serving` are what the service says of itself: whether it has taken calls, and
    whether it takes them now. It is stalled while no probe has ended for as long as answers are
    trusted: then it knows nothing, and another instance may know more.
    """

    def __init__(
        self,
        *,
        started: Callable[[], bool],
        serving: Callable[[], bool],
        snapshot: Callable[[], Snapshot],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._started = started
        self._serving = serving
        self._snapshot = snapshot
        self._monotonic = monotonic

    @property
    def started(self) -> bool:
        """Whether the first round of probes is over; once it is, for ever."""
        return self._started()

    @property
    def phase(self) -> Phase:
        """Where in its life it is, as of now."""
        if not self._started():
            return Phase.STARTING
        if not self._serving():
            return Phase.DRAINING
        return Phase.STALLED if self._silence() is not None else Phase.SERVING

    def obstacle(self) -> str:
        """Return why it should not be asked, in a sentence anybody may read; empty when it may."""
        match self.phase:
            case Phase.STARTING:
                return "The first round of probes is under way."
            case Phase.DRAINING:
                return "This instance is draining."
            case Phase.STALLED:
                return f"No probe has ended for {self._silence() or 0.0:.1f} s."
            case Phase.SERVING:
                return ""

    def _silence(self) -> float | None:
        """Return for how long no probe has ended, if that is too long."""
        snapshot = self._snapshot()
        ended = [standing.last.at for standing in snapshot.standings.values()]
        age = self._monotonic() - max(ended) if ended else 0.0
        return age if age > snapshot.damping.stale_after else None
