"""What counts as a change, and who is told."""

import asyncio

import pytest

from mainstay.errors import UnavailableError
from services.health import changes as changes_module
from services.health.changes import Changes
from services.health.rollup import Report
from services.health.snapshot import Snapshot
from services.health.state import State
from tests.unit.health.observations import failed, passed
from tests.unit.health.suites import maintenance, report_of, well_but


class Suite:
    """A suite whose snapshot a test replaces."""

    def __init__(self) -> None:
        self.snapshot: Snapshot = well_but()

    def report(self) -> Report:
        return report_of(self.snapshot)


class TestListeners:
    def _told(self, snapshot: Snapshot) -> list[tuple[State, State]]:
        suite = Suite()
        changes = Changes(suite.report)
        told: list[tuple[State, State]] = []
        changes.listen(lambda before, after: told.append((before.state, after.state)))
        suite.snapshot = snapshot
        changes.look()
        changes.look()
        return told

    def test_a_state_is_told_once(self) -> None:
        """With the report before and after."""
        assert [(State.HEALTHY, State.DEGRADED)] == self._told(well_but(failed(2, "redis")))

    def test_a_replica_is_a_change_too(self) -> None:
        """Though the states of all targets may stay."""
        assert len(self._told(well_but(failed(2, "cache/a:1")))) == 1

    def test_a_maintenance_is_one(self) -> None:
        """What is served is another."""
        quiet = well_but().with_maintenances({"redis": maintenance("redis")})

        assert len(self._told(quiet)) == 1

    def test_more_of_the_same_is_none(self) -> None:
        """Latencies and times change with every probe; nobody wants to hear it."""
        assert [] == self._told(well_but(passed(2, "redis")))


class TestNews:
    async def test_a_burst_is_looked_at_twice(self) -> None:
        """At its begin and after it: a round of hundreds of replicas must not hold up the loop."""
        suite = Suite()
        made: list[Report] = []

        def report() -> Report:
            made.append(suite.report())
            return made[-1]

        changes = Changes(report)
        told = asyncio.Event()
        changes.listen(lambda _, after: told.set() if after.state is State.UNHEALTHY else None)
        for _ in range(500):
            changes.learned()
        suite.snapshot = well_but(failed(2, "jobs/a:2"))
        changes.learned()
        await asyncio.wait_for(told.wait(), 5)

        assert len(made) == 3  # the first is that of the beginning

    async def test_what_comes_alone_is_told_at_once(self) -> None:
        """Nobody waits for news that might follow."""
        suite = Suite()
        changes = Changes(suite.report)
        told: list[State] = []
        changes.listen(lambda _, after: told.append(after.state))
        suite.snapshot = well_but(failed(2, "redis"))
        changes.learned()

        assert [State.DEGRADED] == told


class TestWatch:
    async def test_it_begins_with_the_report(self) -> None:
        """Whoever comes does not wait for a change to learn how things are."""
        watch = Changes(Suite().report).watch()

        assert State.HEALTHY is (await anext(watch)).state

    async def test_a_change_wakes_it(self) -> None:
        """At once, not at the next poll."""
        suite = Suite()
        changes = Changes(suite.report)
        watch = changes.watch()
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        suite.snapshot = well_but(failed(2, "redis"))
        changes.look()

        assert State.DEGRADED is (await asyncio.wait_for(waiting, 5)).state

    async def test_what_a_slow_reader_missed_is_left_out(self) -> None:
        """It reads the last report, and nothing queues up for it."""
        suite = Suite()
        changes = Changes(suite.report)
        watch = changes.watch()
        await anext(watch)
        for snapshot in (well_but(failed(2, "redis")), well_but(failed(2, "jobs/a:2"))):
            suite.snapshot = snapshot
            changes.look()

        assert State.UNHEALTHY is (await anext(watch)).state

    async def test_draining_ends_it(self) -> None:
        """No watcher holds up the shutdown."""
        changes = Changes(Suite().report)
        watch = changes.watch()
        await anext(watch)
        await changes.drain()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(watch), 5)

    async def test_they_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One more is told to poll."""
        monkeypatch.setattr(changes_module, "MAX_WATCHERS", 1)
        changes = Changes(Suite().report)
        first = changes.watch()
        await anext(first)
        with pytest.raises(UnavailableError) as refused:
            await anext(changes.watch())
        await first.aclose()

        assert refused.value.reason == "TOO_MANY_WATCHERS"
        assert State.HEALTHY is (await anext(changes.watch())).state
