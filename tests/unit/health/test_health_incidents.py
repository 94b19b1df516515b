"""Where incidents begin, get worse and end, as one observer sees it."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from services.health.incidents import IncidentLog
from services.health.minutes import Held
from services.health.state import State

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
UP = Held(State.HEALTHY)
SLOW = Held(State.DEGRADED, "Slow.", "r-1", ("database",))
DOWN = Held(State.UNHEALTHY, "Gone.", "r-2")


class Seen:
    """A log that sees one target, a second at a time."""

    def __init__(self, capacity: int = 100) -> None:
        ids = count(1)
        self.log = IncidentLog(lambda: f"i-{next(ids)}", capacity=capacity)
        self.news: list[bool] = []

    def see(self, *states: Held, target: str = "jobs") -> None:
        for held in states:
            time = NOON + timedelta(seconds=len(self.news))
            self.news.append(self.log.see(target, held, time))

    def told(self) -> list[tuple[str, str, float, float | None]]:
        """Return id, worst state, start and end of what is to be written."""
        return [
            (
                each.incident_id,
                each.worst_state.value,
                (each.start_time - NOON).total_seconds(),
                None if each.end_time is None else (each.end_time - NOON).total_seconds(),
            )
            for each in self.log.unwritten
        ]


class TestIncidents:
    def test_begin_with_a_state_that_is_not_well(self) -> None:
        """And end when the target is healthy; there is news at both moments only."""
        seen = Seen()
        seen.see(UP, DOWN, DOWN, UP, UP)

        assert [("i-1", "unhealthy", 1.0, 3.0)] == seen.told()
        assert [False, True, False, True, False] == seen.news

    def test_get_worse_and_not_better(self) -> None:
        """Degraded after unhealthy is the same incident."""
        seen = Seen()
        seen.see(SLOW, DOWN, SLOW)
        (incident,) = seen.log.unwritten

        assert [True, True, False] == seen.news
        assert [("i-1", "unhealthy", 0.0, None)] == seen.told()
        assert ("Gone.", "r-2", ("jobs",)) == (
            incident.message,
            incident.request_id,
            incident.because,
        )

    def test_name_what_they_are_down_to(self) -> None:
        """The target itself when it was the one."""
        seen = Seen()
        seen.see(SLOW)
        seen.see(DOWN, target="cache")

        assert [("database",), ("cache",)] == [each.because for each in seen.log.unwritten]

    @pytest.mark.parametrize("state", [State.UNKNOWN, State.MAINTENANCE])
    def test_neither_begin_nor_end_with_what_says_nothing(self, state: State) -> None:
        """Nobody looked, or it is out of service on purpose."""
        seen = Seen()
        seen.see(UP, Held(state), UP, DOWN, Held(state), DOWN, UP)

        assert [("i-1", "unhealthy", 3.0, 6.0)] == seen.told()

    def test_of_targets_that_are_gone_end(self) -> None:
        """Nobody will see those healthy again."""
        seen = Seen()
        seen.see(DOWN, SLOW)
        news = seen.log.keep({"cache"}, NOON + timedelta(seconds=9))

        assert (True, [("i-1", "unhealthy", 0.0, 9.0)]) == (news, seen.told())
        assert not seen.log.keep({"cache"}, NOON)

    def test_that_last_are_told_again_and_again(self) -> None:
        """Those that are over until they are written."""
        seen = Seen()
        seen.see(DOWN, UP)
        seen.see(DOWN, target="cache")
        first = seen.log.unwritten
        seen.see(UP, target="cache")
        seen.log.settle(first)

        assert [("i-2", "unhealthy", 2.0, 3.0)] == seen.told()

    def test_that_are_too_many_are_dropped_and_counted(self) -> None:
        """The oldest first."""
        seen = Seen(capacity=2)
        seen.see(*[DOWN, UP] * 5)

        assert (["i-4", "i-5"], 3) == ([told[0] for told in seen.told()], seen.log.dropped)

    def test_do_not_end_before_they_begin(self) -> None:
        """Also when the clock is set back."""
        seen = Seen()
        seen.see(DOWN)
        seen.log.see("jobs", UP, NOON - timedelta(hours=1))

        assert [("i-1", "unhealthy", 0.0, 0.0)] == seen.told()
