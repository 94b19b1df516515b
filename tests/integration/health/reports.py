"""A prober without probes: what it has seen is what the test says."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from services.health.changes import Changes
from services.health.prober import Prober
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import Kind, Target

TARGETS = (
    Target(name="database", kind=Kind.POSTGRES),
    Target(name="redis", kind=Kind.REDIS, critical=True, needs=("database",)),
)


class Clock:
    """Both clocks; by default they run alike."""

    def __init__(self, time: datetime) -> None:
        self.monotonic = 1_000.0
        self.wall = time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)


class Suite:
    """Two targets, of which `redis` needs `database`, and everything that listens to them."""

    def __init__(self, time: datetime | None = None) -> None:
        self.clock = Clock(time or datetime.now(UTC))
        damping = Damping(rise=1, fall=1, stale_after=1e9)
        self.prober = Prober(
            {},
            Snapshot.empty(TARGETS, damping=damping, time=self.clock.wall),
            interval=1,
            timeout=1,
            monotonic=lambda: self.clock.monotonic,
            wall=lambda: self.clock.wall,
        )
        self.changes = Changes(self.prober.report)

    def probe(self, **states: State) -> None:
        """Let probes end now."""
        for target, state in states.items():
            seen = Observation(
                target=target,
                at=self.clock.monotonic,
                time=self.clock.wall,
                latency=0.01,
                request_id=f"r-{target}",
                state=state,
                message="" if state is State.HEALTHY else f"{target} is {state.value}.",
            )
            self.prober.snapshot = self.prober.snapshot.after(seen)
            self.prober._notice(seen)
        self.changes.look()

    def spend(self, seconds: float, look: Callable[[], None], /, **states: State) -> None:
        """Let targets be in states for some time, looked at every second."""
        self.probe(**states)
        while seconds > 0:
            self.clock.advance(min(seconds, 1.0))
            look()
            seconds -= 1.0


def all_of(state: State) -> Mapping[str, State]:
    """Return the same state for both targets."""
    return {target.name: state for target in TARGETS}
