"""Partitions ahead of time and an end for what is old, of history and telemetry alike."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from cli.embedded.postgres import ROLE, PostgresServer
from services.health.database import Database, history_postgres
from services.health.history import Incident
from services.health.maintenance import Maintenance, Mode
from services.health.postgres_history import PostgresHistory
from services.health.postgres_maintenance import PostgresMaintenance
from services.health.postgres_records import PostgresRecords
from services.health.retention import DAYS_AHEAD, Retention
from services.health.state import State
from tests.integration.health.observing import batch, connected_database, current_minute, query, row

NOW = current_minute().replace(second=0)
DAY = timedelta(days=1)
README = Path(__file__).parents[3] / "services/health/README.md"
PARTITIONS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::regclass ORDER BY c.relname
"""


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin now, not when the module was read: minutes may lie between."""
    monkeypatch.setitem(globals(), "NOW", current_minute().replace(second=0))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with connected_database(postgres_url) as database:
        yield database


async def partitions(url: str, parent: str = "health.system_health_logs") -> list[str]:
    return [name for (name,) in await query(url, PARTITIONS, parent)]


async def drop_days(url: str) -> None:
    """Drop all partitions but the one that takes everything."""
    for parent in ("health.system_health_logs", "telemetry.performance_metrics"):
        for name in await partitions(url, parent):
            if not name.endswith("_default"):
                await query(url, f"DROP TABLE {parent.split('.')[0]}.{name}")


class TestPartitions:
    async def test_are_there_before_their_day(self, database: Database, postgres_url: str) -> None:
        """Today's and those of three days; of telemetry too."""
        await drop_days(postgres_url)
        made, _ = await Retention(database).run_once()
        names = await partitions(postgres_url)
        today = datetime.now(UTC)

        assert [
            *(f"system_health_logs_{today + n * DAY:%Y%m%d}" for n in range(DAYS_AHEAD + 1)),
            "system_health_logs_default",
        ] == names
        assert len(await partitions(postgres_url, "telemetry.performance_metrics")) == len(names)
        assert made == 2 * (DAYS_AHEAD + 1)

    async def test_take_over_rows_that_came_before_them(
        self, database: Database, postgres_url: str
    ) -> None:
        """After a standstill of days, rows are where they belong, and still kept by the trigger."""
        await drop_days(postgres_url)
        records = PostgresRecords(database, "one")
        await records.write(batch(row("cache", time=NOW, healthy=60.0)), (), {})
        before = await query(
            postgres_url, "SELECT tableoid::regclass::text FROM health.system_health_logs"
        )
        await Retention(database).run_once()
        await records.write(batch(row("cache", time=NOW, healthy=60.0)), (), {})
        after = await query(
            postgres_url,
            "SELECT tableoid::regclass::text, healthy_seconds, update_time > create_time "
            "FROM health.system_health_logs",
        )

        assert [("health.system_health_logs_default",)] == [tuple(each) for each in before]
        assert [(f"health.system_health_logs_{NOW:%Y%m%d}", 120.0, True)] == [
            tuple(each) for each in after
        ]


class TestCleaning:
    async def test_drops_what_is_older_than_90_days(
        self, database: Database, postgres_url: str
    ) -> None:
        """Days as a whole, hours, what is in no day, and the ids of batches."""
        records = PostgresRecords(database, "one")
        old, young = NOW - 92 * DAY, NOW - 89 * DAY
        await query(
            postgres_url,
            "CREATE TABLE health.system_health_logs_20200101 PARTITION OF "
            "health.system_health_logs FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z')",
        )
        await records.write(
            batch(row("cache", time=old, healthy=1.0), row("cache", time=young, healthy=1.0)),
            (),
            {},
        )
        await query(
            postgres_url, "UPDATE health.batches SET create_time = now() - interval '8 days'"
        )
        await Retention(database).run_once()
        minutes = await query(postgres_url, "SELECT minute FROM health.system_health_logs")
        hours = await query(postgres_url, "SELECT hour FROM health.system_health_hours")

        assert [young] == [each["minute"] for each in minutes]
        assert [young.replace(minute=0)] == [each["hour"] for each in hours]
        assert [] == await query(postgres_url, "SELECT FROM health.batches")
        assert "system_health_logs_20200101" not in await partitions(postgres_url)

    async def test_ends_incidents_of_targets_that_are_gone(
        self, database: Database, postgres_url: str
    ) -> None:
        """Nobody has looked at them for a day; and deletes those that ended 90 days ago."""
        records = PostgresRecords(database, "one")
        for target, end in (("gone", None), ("here", None), ("old", NOW - 91 * DAY)):
            seen = Incident(
                incident_id=str(uuid4()),
                target=target,
                worst_state=State.DEGRADED,
                start_time=NOW - 95 * DAY,
                end_time=end,
                because=(target,),
                message="Gone.",
                request_id="r-1",
            )
            await records.write(None, [seen], {})
        await records.write(batch(row("here", NOW - timedelta(hours=20), unhealthy=60.0)), (), {})
        await query(postgres_url, "ALTER TABLE health.incidents DISABLE TRIGGER touch")
        await query(
            postgres_url, "UPDATE health.incidents SET update_time = now() - interval '2 d'"
        )
        await Retention(database).run_once()
        found = await query(
            postgres_url,
            "SELECT target, end_time IS NULL AS lasts FROM health.incidents ORDER BY target",
        )

        assert [("gone", False), ("here", True)] == [tuple(each) for each in found]

    async def test_may_be_done_by_several_at_once(
        self, database: Database, postgres_url: str
    ) -> None:
        """One does it, the others have nothing to do; nobody fails."""
        await drop_days(postgres_url)
        for parent in ("telemetry.performance_metrics", "health.system_health_logs"):
            for day in range(10, 20):
                await query(
                    postgres_url,
                    f"CREATE TABLE {parent}_202001{day} PARTITION OF {parent} "
                    f"FOR VALUES FROM ('2020-01-{day}Z') TO ('2020-01-{day + 1}Z')",
                )
        results = await asyncio.gather(*(Retention(database).run_once() for _ in range(4)))

        assert 2 * (DAYS_AHEAD + 1) == sum(made for made, _ in results)
        assert 20 == sum(deleted for _, deleted in results)

    @pytest.mark.parametrize(
        "function",
        [
            "cleanup_system_health_logs",
            "cleanup_system_health_hours",
            "cleanup_incidents",
            "cleanup_maintenance",
        ],
    )
    async def test_of_less_than_a_day_is_refused(
        self, database: Database, postgres_url: str, function: str
    ) -> None:
        """Somebody who meant something else would lose everything."""
        with pytest.raises(asyncpg.CheckViolationError, match="keep at least 1"):
            await query(postgres_url, f"SELECT health.{function}(0)")

    async def test_is_not_for_everybody(self, database: Database, postgres_url: str) -> None:
        """The functions act with the rights of their owner."""
        open_ = await query(
            postgres_url,
            "SELECT proname FROM pg_proc WHERE pronamespace = 'health'::regnamespace "
            "AND prosecdef AND (proacl IS NULL OR proacl::text ~ '[{,]=X')",
        )

        assert [] == open_


class TestRights:
    @pytest.fixture
    async def server(self, private_postgres: PostgresServer) -> PostgresServer:
        """Let a role in that owns nothing and has the rights that the README grants."""
        server = private_postgres
        await server.stop()
        statements = server.directory / "roles.sql"
        statements.write_text("CREATE ROLE mainstay_health LOGIN;\n")
        await server._run("postgres", server.data, ["--single", "postgres"], source=statements)
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all mainstay_health 127.0.0.1/32 trust\n")
        await server.start()
        granted = re.search(r"```sql\n(GRANT USAGE .*?)```", README.read_text(), re.DOTALL)
        assert granted is not None
        async with connected_database(server.url):
            connection = await asyncpg.connect(server.url)
            await connection.execute(granted[1])
            await connection.close()
        return server

    @pytest.fixture
    async def humble(self, server: PostgresServer) -> AsyncIterator[Database]:
        """Connect as that role."""
        url = server.url.replace(f"//{ROLE}@", "//mainstay_health@")
        database = Database(history_postgres(url, migrate=False))
        await database._connect()
        yield database
        await database.close()

    async def test_that_the_readme_grants_are_enough(
        self, server: PostgresServer, humble: Database
    ) -> None:
        """For all that the service does; partitions belong to the role that migrates."""
        await drop_days(server.url)
        store = PostgresMaintenance(humble)
        wanted = Maintenance(
            target="redis",
            mode=Mode.DRAIN,
            start_time=NOW,
            end_time=datetime.now(UTC) + DAY,
            reason="New disks.",
        )
        await store.put(wanted)
        known = await store.load()
        await store.delete("redis")
        made, _ = await Retention(humble).run_once()
        seen = batch(row("redis", NOW, healthy=60.0))
        await PostgresRecords(humble, "one").write(seen, (), {"redis": NOW})
        history = await PostgresHistory(humble).history("redis")

        assert {"redis": wanted} == known
        assert 2 * (DAYS_AHEAD + 1) == made
        assert [1.0] == [day.ratio for day in history.days]


class TestSchema:
    async def test_says_what_everything_is_for(self, database: Database, postgres_url: str) -> None:
        """Whoever meets tables and functions in a database without the code can read it there."""
        silent = await query(
            postgres_url,
            "SELECT relname FROM pg_class WHERE relnamespace = 'health'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition AND obj_description(oid) IS NULL "
            "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'health'::regnamespace "
            "AND obj_description(oid) IS NULL",
        )

        assert [] == silent

    async def test_indexes_minutes_by_their_order(
        self, database: Database, postgres_url: str
    ) -> None:
        """In every partition."""
        found = await query(
            postgres_url,
            "SELECT count(*) FROM pg_class AS c JOIN pg_am ON pg_am.oid = c.relam "
            "WHERE amname = 'brin' AND c.relname ~ '^system_health_logs_.*minute'",
        )

        assert len(await partitions(postgres_url)) <= found[0][0]
