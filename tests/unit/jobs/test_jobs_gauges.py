"""What the queue's figures warn of."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from mainstay.errors import DatabaseError
from services.jobs import gauges
from services.jobs.gauges import MAX_AGE, MAX_DEAD_ROWS, MAX_TRANSACTION, QueueGauges, warnings
from services.jobs.ports import Depth

QUIET = Depth(
    ready=1,
    delayed=0,
    running=0,
    oldest=MAX_AGE,
    dead_letters=0,
    workers=0,
    oldest_transaction=MAX_TRANSACTION,
    dead_rows=MAX_DEAD_ROWS,
)


class Figures:
    """A store that has the figures it is told, or is gone."""

    def __init__(self, depth: Depth) -> None:
        self.now = depth
        self.gone = False
        self.asked = asyncio.Queue[bool]()

    async def depth(self) -> Depth:
        self.asked.put_nowait(self.gone)
        if self.gone:
            raise DatabaseError("gone")
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


class TestMeasured:
    async def test_the_last_figures_stay(self) -> None:
        """With the time they are of, and how old they have become since."""
        seconds, moment = [100.0], datetime(2026, 1, 31, tzinfo=UTC)
        queue = QueueGauges(
            Figures(QUIET),
            lambda name, problem: None,
            monotonic=lambda: seconds[0],
            wall=lambda: moment,
        )
        nothing = queue.measured
        await queue.run_once()
        seconds[0] = 112.5

        assert nothing is None
        assert queue.measured is not None
        assert (QUIET, moment) == (queue.measured.depth, queue.measured.time)
        assert queue.age(queue.measured) == 12.5

    async def test_an_outage_is_told_once_and_its_end_seen_soon(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a failure it tries again early, and keeps what it knew."""
        monkeypatch.setattr(gauges, "RETRY", 0.001)
        store = Figures(QUIET)
        queue = QueueGauges(store, lambda name, problem: None)
        await queue.run_once()
        known = queue.measured
        store.gone = True
        with capture_logs() as lines:
            running = asyncio.create_task(queue.run())
            async with asyncio.timeout(10):
                for _ in range(4):
                    await store.asked.get()
                kept = queue.measured
                store.gone = False
                while await store.asked.get():
                    pass
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])

        assert known is kept
        assert ["queue_not_measured", "queue_measured_again"] == [line["event"] for line in lines]
