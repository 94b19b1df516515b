"""Rows that wait to be written: a bounded number, of which the oldest go."""

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from shared.postgres.copying import BatchTable
from shared.telemetry.row_writer import RowBuffer

_numbers = count(1)


class Stage:
    """A buffer of ten rows at most, with metrics of its own."""

    def __init__(self, max_rows: int = 10, enough: int = 3) -> None:
        self.nudges = 0
        self.name = f"test.rows_{next(_numbers)}"
        self.buffer = RowBuffer(
            BatchTable(name=self.name, columns={"number": "integer"}),
            lambda number: (number,),
            nudge=self.nudge,
            max_rows=max_rows,
            enough=enough,
        )

    def nudge(self) -> None:
        self.nudges += 1

    def add(self, numbers: range) -> None:
        for number in numbers:
            self.buffer.add(number)

    def waiting(self) -> list[Any]:
        rows, _ = self.buffer.first(1_000)
        return [number for (number,) in rows]

    def metric(self, which: str) -> float:
        found = REGISTRY.get_sample_value(f"mainstay_telemetry_rows_{which}", {"table": self.name})
        return found or 0.0


class TestABuffer:
    def test_keeps_the_newest(self) -> None:
        """What is dropped is counted, and what waits can be seen."""
        stage = Stage(max_rows=10)
        stage.add(range(25))

        assert stage.waiting() == [*range(15, 25)]
        assert (stage.metric("dropped_total"), stage.metric("waiting")) == (15, 10)

    def test_says_when_there_is_enough_to_write(self) -> None:
        """Once: who does not come at once is not told again and again."""
        stage = Stage(enough=3)
        stage.add(range(2))
        before = stage.nudges
        stage.add(range(8))

        assert (0, 1) == (before, stage.nudges)

    def test_forgets_what_was_stored(self) -> None:
        """And nothing that came meanwhile."""
        stage = Stage()
        stage.add(range(4))
        rows, up_to = stage.buffer.first(3)
        stage.add(range(4, 6))
        stage.buffer.settle(up_to)

        assert rows == [(0,), (1,), (2,)]
        assert stage.waiting() == [3, 4, 5]

    def test_forgets_no_more_when_some_were_dropped_meanwhile(self) -> None:
        """What was stored and what was dropped may be the same."""
        stage = Stage(max_rows=5)
        stage.add(range(5))
        _, up_to = stage.buffer.first(3)
        stage.add(range(5, 7))
        stage.buffer.settle(up_to)

        assert stage.waiting() == [3, 4, 5, 6]

    def test_gives_up_what_is_refused(self) -> None:
        """Counted as dropped, and the rest goes on."""
        stage = Stage()
        stage.add(range(5))
        _, up_to = stage.buffer.first(2)
        stage.buffer.drop(up_to)

        assert stage.waiting() == [2, 3, 4]
        assert stage.metric("dropped_total") == 2
        assert (stage.buffer.drop_all(), stage.waiting()) == (3, [])


class TestAnyHistory:
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(1, 8)),
                st.tuples(st.just("take"), st.integers(1, 8)),
                st.tuples(st.just("settle"), st.just(0)),
                st.tuples(st.just("refuse"), st.just(0)),
            )
        )
    )
    def test_loses_no_row_without_counting_it(self, history: list[tuple[str, int]]) -> None:
        """Every row waits, was stored, or was counted as dropped; some perhaps both of the last."""
        stage, added = Stage(max_rows=10), 0
        stored: set[int] = set()
        taken: tuple[list[Any], int] = ([], 0)
        for what, number in history:
            match what:
                case "add":
                    stage.add(range(added, added + number))
                    added += number
                case "take":
                    taken = stage.buffer.first(number)
                case "settle":
                    stored |= {row[0] for row in taken[0]}
                    stage.buffer.settle(taken[1])
                case "refuse":
                    stage.buffer.drop(taken[1])
            waiting = stage.waiting()

            assert len(waiting) <= 10
            assert waiting == [*range(added - len(waiting), added)]
            assert len(waiting) + len(stored) + stage.metric("dropped_total") >= added
