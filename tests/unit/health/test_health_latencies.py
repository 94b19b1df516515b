"""Latencies of the last hour, by the minute."""

from datetime import UTC, datetime, timedelta

from services.health.latencies import SLOTS, Latencies
from services.health.state import Observation, State

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Watch:
    """Latencies, and a clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON
        self.latencies = Latencies(
            service_of=lambda name: name.partition("/")[0], wall=lambda: self.now
        )

    def probe(self, latency: float, target: str = "cache", state: State = State.HEALTHY) -> None:
        self.latencies.noticed(
            Observation(
                target=target, at=0, time=self.now, latency=latency, request_id="r", state=state
            )
        )

    def pass_time(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def last(self, target: str, count: int) -> list[float | None]:
        return list(self.latencies.of(target)[-count:])


class TestLatencies:
    def test_are_means_of_minutes(self) -> None:
        """The current one last, and nothing where nothing answered."""
        watch = Watch()
        watch.probe(1.0)
        watch.probe(3.0)
        watch.pass_time(2)
        watch.probe(5.0)
        watch.probe(9.0, state=State.UNHEALTHY)
        watch.probe(7.0, state=State.DEGRADED)

        assert [None, 2.0, None, 6.0] == watch.last("cache", 4)

    def test_of_replicas_are_those_of_their_service_too(self) -> None:
        """A service is never probed itself."""
        watch = Watch()
        watch.probe(1.0, "cache/a:1")
        watch.probe(3.0, "cache/b:1")

        assert ([1.0], [2.0]) == (watch.last("cache/a:1", 1), watch.last("cache", 1))

    def test_are_forgotten_after_an_hour(self) -> None:
        """A slot is used again, and replicas that are gone take no memory."""
        watch = Watch()
        watch.probe(1.0, "cache/a:1")
        watch.pass_time(SLOTS - 1)
        before = watch.latencies.of("cache/a:1")
        watch.pass_time(1)
        after = watch.latencies.of("cache/a:1")
        watch.probe(2.0, "jobs")

        assert (1.0, [None] * SLOTS) == (before[0], after)
        assert {"jobs"} == watch.latencies._slots.keys()

    def test_of_the_unknown_are_empty(self) -> None:
        """Sixty times nothing, and nothing is noted for news that are no probe."""
        watch = Watch()
        watch.latencies.noticed(None)

        assert [None] * SLOTS == watch.latencies.of("cache")
