"""What the queue's figures warn of."""

from dataclasses import replace

import pytest

from services.jobs.gauges import MAX_AGE, MAX_DEAD_ROWS, MAX_TRANSACTION, QueueGauges, warnings
from services.jobs.ports import Depth

QUIET = Depth(
    ready=1,
    delayed=0,
    running=0,
    oldest=MAX_AGE,
    dead_letters=0,
    oldest_transaction=MAX_TRANSACTION,
    dead_rows=MAX_DEAD_ROWS,
)


class Figures:
    """A store that has the figures it is told."""

    def __init__(self, depth: Depth) -> None:
        self.now = depth

    async def depth(self) -> Depth:
        return self.now


class TestWarnings:
    @pytest.mark.parametrize(
        ("beyond", "name", "says"),
        [
            ({"oldest": 301.0}, "queue_old", "start workers"),
            ({"oldest_transaction": 301.0}, "transaction_old", "pg_stat_activity"),
            ({"dead_rows": 500_001}, "dead_rows", "vacuum"),
        ],
    )
    def test_beyond(self, beyond: dict[str, float], name: str, says: str) -> None:
        """Each bound has a warning of its own, with the way out."""
        found = warnings(replace(QUIET, **beyond))  # type: ignore[arg-type]

        assert says in (found[name] or "")
        assert [name] == [each for each, problem in found.items() if problem]

    def test_within(self) -> None:
        """On the bound nothing is wrong."""
        assert {None} == set(warnings(QUIET).values())

    async def test_taken_back(self) -> None:
        """What was shown is taken back once it is over."""
        store, told = Figures(replace(QUIET, oldest=1_000.0)), list[tuple[str, bool]]()
        gauges = QueueGauges(store, lambda name, problem: told.append((name, problem is not None)))
        await gauges.run_once()
        store.now = QUIET
        await gauges.run_once()

        assert [("queue_old", True), ("queue_old", False)] == [
            each for each in told if each[0] == "queue_old"
        ]
