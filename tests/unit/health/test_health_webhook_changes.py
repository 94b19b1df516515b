"""Which changes are told: those that last, flapping once, a start not at all."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.health.minutes import Held
from services.health.state import State
from services.health.webhook_changes import Debouncer, StateChange, payload

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DEBOUNCE = 10.0
HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN, MAINTENANCE = State

Told = tuple[float, str, str]


class Watch:
    """A debouncer, asked whenever something is due."""

    def __init__(self, debounce: float = DEBOUNCE, *, offset: float = 0.0) -> None:
        self.debouncer = Debouncer(debounce)
        self.now = offset
        self.told: list[tuple[float, StateChange]] = []

    def see(self, state: State, seconds: float, message: str = "") -> None:
        """Let a target be in a state for some time."""
        held = {"cache": Held(state, message, "r-1", ("database",))}
        self.see_all(held, seconds)

    def see_all(self, states: Mapping[str, Held], seconds: float) -> None:
        end = self.now + seconds
        self.debouncer.see(states, self.now, self.time)
        while True:
            self.told += [(self.now, each) for each in self.debouncer.due(self.now, self.time)]
            wait = self.debouncer.wait(self.now)
            if wait is None or self.now + wait >= end:
                break
            self.now += max(wait, 0.001)
        self.now = end

    @property
    def time(self) -> datetime:
        return NOON + timedelta(seconds=self.now)

    @property
    def changes(self) -> list[Told]:
        """Return when, from what and to what."""
        return [(at, each.before.value, each.now.state.value) for at, each in self.told]


class TestChanges:
    def test_are_told_when_they_have_lasted(self) -> None:
        """With the moment at which they began."""
        watch = Watch()
        watch.see(HEALTHY, 60)
        watch.see(UNHEALTHY, 60)
        watch.see(HEALTHY, 60)

        assert [
            (70.0, "healthy", "unhealthy"),
            (130.0, "unhealthy", "healthy"),
        ] == watch.changes
        assert [NOON + timedelta(seconds=at) for at in (60, 120)] == [
            each.since for _, each in watch.told
        ]

    def test_that_do_not_last_are_not_told(self) -> None:
        """A blip is none."""
        watch = Watch()
        watch.see(HEALTHY, 60)
        watch.see(UNHEALTHY, 9.9)
        watch.see(HEALTHY, 60)

        assert [] == watch.changes

    def test_that_go_on_are_told_as_what_lasts(self) -> None:
        """Degraded on the way to unhealthy is not told apart."""
        watch = Watch()
        watch.see(HEALTHY, 60)
        watch.see(DEGRADED, 5)
        watch.see(UNHEALTHY, 60)

        assert [(75.0, "healthy", "unhealthy")] == watch.changes

    def test_of_a_start_are_none(self) -> None:
        """Unless what is found is not well."""
        fine, broken = Watch(), Watch()
        for watch, state in ((fine, HEALTHY), (broken, DEGRADED)):
            watch.see(UNKNOWN, 15)
            watch.see(state, 30)

        assert [] == fine.changes
        assert [(25.0, "unknown", "degraded")] == broken.changes

    def test_to_unknown_and_maintenance_are_told_and_back(self) -> None:
        """Once something was known."""
        watch = Watch()
        for state in (HEALTHY, UNKNOWN, HEALTHY, MAINTENANCE, HEALTHY):
            watch.see(state, 20)

        assert ["unknown", "healthy", "maintenance", "healthy"] == [
            state for _, _, state in watch.changes
        ]

    def test_of_targets_are_apart(self) -> None:
        """And what is gone is forgotten."""
        watch = Watch()
        up, down = Held(HEALTHY), Held(UNHEALTHY)
        watch.see_all({"cache": up, "jobs": up}, 20)
        watch.see_all({"cache": up, "jobs": down}, 5)
        watch.see_all({"cache": up}, 30)
        watch.see_all({"cache": down, "jobs": up}, 30)

        assert ["cache"] == [each.target for _, each in watch.told]


class TestFlapping:
    def test_is_told_once_as_the_worst(self) -> None:
        """After six times the debounce, however long it goes on; then what it settles on."""
        watch = Watch()
        watch.see(HEALTHY, 60)
        for _ in range(100):
            watch.see(UNHEALTHY, 3)
            watch.see(HEALTHY, 3)
        watch.see(HEALTHY, 60)

        assert [("healthy", "unhealthy"), ("unhealthy", "healthy")] == [
            told[1:] for told in watch.changes
        ]
        assert 120 <= watch.changes[0][0] <= 126
        assert [True, False] == [each.flapping for _, each in watch.told]

    def test_back_to_what_was_told_is_nothing(self) -> None:
        """It was unhealthy before, and is."""
        watch = Watch()
        watch.see(UNHEALTHY, 60)
        for _ in range(20):
            watch.see(HEALTHY, 3)
            watch.see(UNHEALTHY, 3)
        watch.see(UNHEALTHY, 60)

        assert [("unknown", "unhealthy")] == [told[1:] for told in watch.changes]


class TestIds:
    def test_are_the_same_for_two_that_see_the_same(self) -> None:
        """Some seconds apart, within a window of twice the debounce."""
        one, two = Watch(), Watch(offset=3.0)
        for watch in (one, two):
            watch.see(HEALTHY, 61)
            watch.see(UNHEALTHY, 60)

        assert [each.webhook_id for _, each in one.told] == [
            each.webhook_id for _, each in two.told
        ]
        assert "." not in one.told[0][1].webhook_id

    @given(
        st.floats(1, 60),
        st.lists(
            st.tuples(st.sampled_from(State), st.floats(0.1, 200, allow_subnormal=False)),
            max_size=60,
        ),
    )
    def test_are_never_those_of_another_change(
        self, debounce: float, states: list[tuple[State, float]]
    ) -> None:
        """A receiver that deduplicates loses nothing; and no state is told twice in a row."""
        watch = Watch(debounce)
        for state, seconds in states:
            watch.see(state, seconds)
        ids = [each.webhook_id for _, each in watch.told]
        told = [each.now.state for _, each in watch.told]

        assert len(set(ids)) == len(ids)
        assert all(one is not other for one, other in pairwise(told))

    @given(
        st.lists(
            st.tuples(st.sampled_from(State), st.floats(0.1, 200, allow_subnormal=False)),
            max_size=30,
        ),
        st.sampled_from([DEGRADED, UNHEALTHY, MAINTENANCE]),
    )
    def test_the_last_state_is_always_told(
        self, states: list[tuple[State, float]], last: State
    ) -> None:
        """Whatever went before, what lasts is what was told last."""
        watch = Watch()
        watch.see(HEALTHY, 20)
        for state, seconds in states:
            watch.see(state, seconds)
        watch.see(last, 20)

        assert last is watch.told[-1][1].now.state


class TestPayload:
    def test_says_what_why_and_since_when(self) -> None:
        """As the specification suggests: type, timestamp, data."""
        watch = Watch()
        watch.see(HEALTHY, 60)
        watch.see(UNHEALTHY, 60, "Did not answer.")
        watch.see(HEALTHY, 60)
        down, up = (payload(each) for _, each in watch.told)

        assert {
            "type": "health.state.changed",
            "timestamp": "2026-05-01T12:01:00.000Z",
            "data": {
                "target": "cache",
                "state": "unhealthy",
                "before": "healthy",
                "since": "2026-05-01T12:01:00.000Z",
                "because": ["database"],
                "message": "Did not answer.",
                "request_id": "r-1",
                "flapping": False,
            },
        } == down
        assert [] == up["data"]["because"]
