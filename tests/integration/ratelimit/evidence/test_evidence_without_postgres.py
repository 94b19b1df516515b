"""PostgreSQL may come and go as it likes: evidence waits, bounded, and no check waits for it."""

import time
from itertools import pairwise

import asyncpg
import pytest
from prometheus_client import REGISTRY

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.ratelimit.policy import DAY
from tests.integration.ratelimit.evidence.conftest import StartWatcher
from tests.integration.ratelimit.evidence.watcher import GLOBEX, MINUTE, Watcher


def dropped() -> float:
    return REGISTRY.get_sample_value("mainstay_ratelimit_evidence_dropped_total") or 0.0


class TestAway:
    async def test_evidence_is_written_when_it_is_back(
        self, start_watcher: StartWatcher, private_postgres: PostgresServer
    ) -> None:
        """In the minutes in which it was."""
        here = await start_watcher(postgres_url=private_postgres.url)
        await private_postgres.stop()
        for _ in range(3):
            here.see()
            with pytest.raises(DatabaseError):
                await here.write()
            here.pass_time(MINUTE)
        await private_postgres.start()
        report = await here.report()
        violations = await here.violations()

        assert (3, 3, False) == (report.total.denied, len(violations), report.incomplete)
        assert [MINUTE, MINUTE] == [
            later.first_at - sooner.first_at for later, sooner in pairwise(violations)
        ]

    async def test_a_replica_starts_without_it(
        self, start_watcher: StartWatcher, private_postgres: PostgresServer
    ) -> None:
        """And keeps what it sees until then."""
        await private_postgres.stop()
        here = await start_watcher(postgres_url=private_postgres.url)
        here.see()
        with pytest.raises(DatabaseError):
            await here.page()

        assert not here.database.connected

    async def test_what_is_too_much_is_dropped_and_told(
        self, start_watcher: StartWatcher, private_postgres: PostgresServer
    ) -> None:
        """The oldest first; whoever reads the figures knows, and so do the metrics."""
        here = await start_watcher(
            postgres_url=private_postgres.url, max_buckets=2, max_violations=4
        )
        await private_postgres.stop()
        before = dropped()
        for number in range(6):
            here.see(f"user:{number}")
            here.evidence.hand_over()
            here.pass_time(MINUTE)
        lost = dropped() - before
        await private_postgres.start()
        report = await here.report()
        violations = await here.violations()

        assert 2 + 4 == lost
        assert ["user:5", "user:4", "user:3", "user:2"] == [
            violation.offence.subject for violation in violations
        ]
        assert (2, 6, True) == (report.total.denied, report.total.dropped, report.incomplete)
        assert not (await here.report(GLOBEX)).incomplete

    async def test_costs_a_check_nothing(
        self, start_watcher: StartWatcher, private_postgres: PostgresServer
    ) -> None:
        """Nobody waits, and memory has an end: a hundred thousand denials of strangers."""
        here = await start_watcher(postgres_url=private_postgres.url, max_violations=1_000)
        await private_postgres.stop()
        began = time.perf_counter()
        for number in range(100_000):
            here.see(f"user:{number}")
            if number % 10_000 == 0:
                here.evidence.hand_over()
        seconds = time.perf_counter() - began

        # Ten times what it takes on a slow machine.
        assert seconds < 20


class TestOnce:
    async def test_a_batch_whose_commit_was_not_acknowledged_is_not_added_again(
        self, here: Watcher, rows: asyncpg.Connection
    ) -> None:
        """It carries an id."""
        here.see(times=2)
        here.evidence.hand_over()
        here.keeper._take()
        batch = here.keeper._batch
        await here.keeper.write_once()
        here.keeper._batch = batch
        await here.keeper.write_once()

        assert 2 == await rows.fetchval("SELECT sum(denied) FROM ratelimit.rate_limit_statistics")
        assert 2 == await rows.fetchval("SELECT sum(count) FROM ratelimit.rate_limit_violations")

    async def test_what_the_database_refuses_does_not_hold_up_the_rest(self, here: Watcher) -> None:
        """It would be refused again and again; that it is missing is told."""
        here.see("no\x00body")
        await here.write()
        here.see("user:1")
        violations, report = await here.violations(), await here.report()

        assert ["user:1"] == [violation.offence.subject for violation in violations]
        assert report.incomplete


class TestEnd:
    async def test_of_a_replica_leaves_nothing_behind(
        self, here: Watcher, rows: asyncpg.Connection
    ) -> None:
        """What it saw last is written."""
        here.see()
        here.evidence.hand_over()
        await here.keeper.close()

        assert 1 == await rows.fetchval("SELECT count(*) FROM ratelimit.rate_limit_violations")


class TestRetention:
    async def test_is_90_days(self, here: Watcher, rows: asyncpg.Connection) -> None:
        """But for what was decided by the minute, which is kept by the hour too."""
        now = await rows.fetchval("SELECT extract(epoch FROM now())::bigint * 1000000")
        here.clock.now = now - 91 * DAY
        here.see("old")
        await here.write()
        here.clock.now = now - 89 * DAY
        here.see("young")
        await here.write()
        deleted = [await here.keeper.clean_once() for _ in range(2)]
        left = await rows.fetch("SELECT subject FROM ratelimit.rate_limit_violations")
        minutes = await rows.fetchval("SELECT count(*) FROM ratelimit.rate_limit_statistics")

        hours = await rows.fetchval("SELECT count(*) FROM ratelimit.rate_limit_statistics_by_hour")

        assert ([2, 0], ["young"]) == (deleted, [row["subject"] for row in left])
        assert (0, 1) == (minutes, hours)
