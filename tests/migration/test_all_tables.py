"""What holds for every table of every service, and above all for the seven that people read."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from cli.backup.contents import SCHEMAS
from shared.postgres.queries import load_queries

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = load_queries("tests.migration", "seven_tables.sql")


class Seven(NamedTuple):
    """One of the seven tables: where its rows are, its time, and how many days they are kept."""

    name: str
    rows: str
    time: str
    days: int
    updated: bool

    @property
    def cleanup(self) -> str:
        """Return the function that removes what is old."""
        return self.name.replace(".", ".cleanup_")


SEVEN = (
    Seven("jobs.job_queue", "jobs.history", "end_time", 30, updated=False),
    Seven(
        "telemetry.performance_metrics",
        "telemetry.performance_metrics",
        "minute",
        90,
        updated=False,
    ),
    Seven("health.system_health_logs", "health.system_health_logs", "minute", 90, updated=True),
    Seven("cache.cache_statistics", "cache.cache_statistics", "minute", 90, updated=True),
    Seven("telemetry.api_request_logs", "telemetry.api_request_logs", "time", 30, updated=False),
    Seven(
        "ratelimit.rate_limit_violations",
        "ratelimit.rate_limit_violations",
        "start_time",
        90,
        updated=False,
    ),
    Seven("ratelimit.ai_api_usage", "ratelimit.ai_api_usage", "record_time", 90, updated=False),
)
seven = pytest.mark.parametrize("table", SEVEN, ids=lambda table: table.name)

RELATIONS = """
SELECT format('%s.%s', n.nspname, c.relname) AS name, c.oid, c.relkind, c.relispartition,
    c.relrowsecurity, c.relforcerowsecurity, obj_description(c.oid) AS meaning,
    EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
    ) AS of_tenants,
    (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid AND p.polcmd = '*') AS policies
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v')
ORDER BY 1
"""


def plain(expression: str) -> str:
    """Return an expression without the brackets and casts that PostgreSQL adds."""
    return re.sub(r"::text|[()]", "", expression).lower()


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to a migrated database, to see the rows of all tenants."""
    connection = await asyncpg.connect(migrated_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestEveryTable:
    async def test_stands_in_a_schema_that_backups_know(self, database: asyncpg.Connection) -> None:
        """A schema that is added and not backed up would be lost."""
        found = await database.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' "
            "AND nspname NOT IN ('public', 'information_schema') ORDER BY 1"
        )

        assert [*SCHEMAS] == [row["nspname"] for row in found]

    async def test_says_what_it_and_its_columns_are_for(self, database: asyncpg.Connection) -> None:
        """Whoever meets it in a database without the code can read it there."""
        tables = await database.fetch(RELATIONS, [*SCHEMAS])
        columns = await database.fetch(
            "SELECT format('%s.%s', a.attrelid::regclass, a.attname) AS name "
            "FROM pg_attribute AS a "
            "WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped "
            "AND col_description(a.attrelid, a.attnum) IS NULL",
            [table["oid"] for table in tables if not table["relispartition"]],
        )
        silent = [
            table["name"]
            for table in tables
            if not table["relispartition"] and table["meaning"] is None
        ]

        assert ([], []) == (silent, [column["name"] for column in columns])

    async def test_with_tenants_keeps_them_apart(self, database: asyncpg.Connection) -> None:
        """Row-level security that binds the owner too.

        A partition, reached directly, has no policy and shows nothing to others. It is not forced:
        functions of the schema's owner make and fill partitions.
        """
        open_ones = [
            table["name"]
            for table in await database.fetch(RELATIONS, [*SCHEMAS])
            if table["of_tenants"] and table["relkind"] != b"v"
            if not (
                table["relrowsecurity"]
                and (
                    table["relispartition"] or (table["relforcerowsecurity"] and table["policies"])
                )
            )
        ]

        assert [] == open_ones

    async def test_with_tenants_shows_a_tenant_its_own(self, database: asyncpg.Connection) -> None:
        """Every policy asks for the tenant of the row; what is put for all, all may read."""
        named = "current_setting('mainstay.tenant', true)"
        allowed = {
            ("*", plain(f"tenant = {named} OR {named} = '*'")),
            ("*", plain(f"tenant = nullif({named}, '') OR {named} = '*'")),
            ("r", "tenant = '*'"),
        }
        policies = await database.fetch(
            "SELECT p.polcmd::text, pg_get_expr(p.polqual, p.polrelid) AS using_, "
            "p.polrelid::regclass::text AS name, p.polwithcheck IS NULL AS same "
            "FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid "
            "WHERE c.relnamespace::regnamespace::text = ANY ($1)",
            [*SCHEMAS],
        )
        careless = [
            policy["name"]
            for policy in policies
            if not policy["same"] or (policy["polcmd"], plain(policy["using_"])) not in allowed
        ]

        assert [] == careless

    async def test_with_tenants_is_seen_through_views_as_by_itself(
        self, database: asyncpg.Connection
    ) -> None:
        """A view of somebody who sees all would show all."""
        careless = await database.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text = ANY ($1) "
            "AND relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)",
            [*SCHEMAS],
        )

        assert [] == careless

    async def test_has_a_key(self, database: asyncpg.Connection) -> None:
        """A row can be told from every other; a batch that comes twice is seen."""
        without = await database.fetch(
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "WHERE c.relnamespace::regnamespace::text = ANY ($1) AND c.relkind IN ('r', 'p') "
            "AND NOT EXISTS (SELECT FROM pg_index AS x WHERE x.indrelid = c.oid AND x.indisunique)",
            [*SCHEMAS],
        )

        assert [] == without

    async def test_that_notes_its_updates_has_the_database_do_it(
        self, database: asyncpg.Connection
    ) -> None:
        """Whoever updates a row, by hand too."""
        forgetful = await database.fetch(
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'update_time' "
            "WHERE c.relnamespace::regnamespace::text = ANY ($1) AND c.relkind IN ('r', 'p') "
            "AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid "
            "AND t.tgname = 'touch' AND t.tgenabled = 'O')",
            [*SCHEMAS],
        )

        assert [] == forgetful

    async def test_is_cleaned_by_its_owner_alone(self, database: asyncpg.Connection) -> None:
        """Who may read or write rows must not be able to drop them."""
        everybodys = await database.fetch(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p "
            "WHERE p.pronamespace::regnamespace::text = ANY ($1) "
            "AND (p.proname LIKE 'cleanup\\_%' OR p.prosecdef) "
            "AND has_function_privilege('public', p.oid, 'EXECUTE')",
            [*SCHEMAS],
        )

        assert [] == everybodys


class TestTheDocument:
    def test_says_what_the_database_says(self, migrated_url: str) -> None:
        """docs/data.md is written by a script, from the comments."""
        done = subprocess.run(
            [
                sys.executable,
                REPOSITORY / "scripts" / "describe_tables.py",
                "--check",
                "--database",
                migrated_url,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )

        assert (0, "") == (done.returncode, done.stderr)

    @seven
    def test_names_each_of_the_seven_first(self, table: Seven) -> None:
        """With how long its rows are kept."""
        text = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
        row = next(line for line in text.splitlines() if line.startswith(f"| `{table.name}` |"))

        assert f"{table.days} days" in row


class TestTheSeven:
    @seven
    async def test_have_a_brin_index_on_their_time(
        self, database: asyncpg.Connection, table: Seven
    ) -> None:
        """What is old is found without reading what is not."""
        found = await database.fetch(
            "SELECT pg_get_indexdef(indexrelid) AS text FROM pg_index "
            "WHERE indrelid = $1::text::regclass",
            table.rows,
        )

        column = rf'"?{table.time}"?'
        assert any(re.search(rf"USING brin \({column}\)", row["text"]) for row in found)

    @seven
    async def test_are_cleaned_of_what_is_old_and_nothing_else(
        self, database: asyncpg.Connection, table: Seven
    ) -> None:
        """After as many days as are promised, and within the days that requirements name."""
        assert 30 <= table.days <= 90
        insert = ROWS[table.rows.replace(".", "_")]
        # A day is dropped when all of it is old.
        for age in (0, table.days - 1, table.days + 2, table.days + 300):
            await database.execute(insert, timedelta(days=age))
        await database.execute("SET mainstay.tenant = ''")
        removed = await database.fetchval(f"SELECT {table.cleanup}()")
        again = await database.fetchval(f"SELECT {table.cleanup}()")
        own = await database.fetchval("SELECT current_setting('mainstay.tenant')")
        await database.execute("SET mainstay.tenant = '*'")
        left = await database.fetch(
            f"SELECT date_trunc('day', now() - {table.time}) AS age FROM {table.rows} ORDER BY 1"
        )

        assert [0, table.days - 1] == [row["age"].days for row in left]
        assert isinstance(removed, int)
        assert (0, "") == (again, own)

    @seven
    async def test_refuse_to_be_cleaned_of_everything(
        self, database: asyncpg.Connection, table: Seven
    ) -> None:
        """A typing mistake must not cost the day."""
        with pytest.raises(asyncpg.CheckViolationError, match="keep at least 1"):
            await database.fetchval(f"SELECT {table.cleanup}(0)")

    @pytest.mark.parametrize(
        "table", [table for table in SEVEN if table.updated], ids=lambda table: table.name
    )
    async def test_note_when_they_were_updated(
        self, database: asyncpg.Connection, table: Seven
    ) -> None:
        """By the database, whatever the statement says."""
        await database.execute(ROWS[table.rows.replace(".", "_")], timedelta())
        await database.execute(f"UPDATE {table.rows} SET update_time = 'epoch'")
        noted = await database.fetchval(
            f"SELECT update_time > now() - interval '1 minute' FROM {table.rows}"
        )

        assert noted

    async def test_note_when_a_job_was_updated(self, database: asyncpg.Connection) -> None:
        """Through the view too, where one that is over was changed last when it ended."""
        await database.execute(ROWS["jobs_jobs"])
        await database.execute(ROWS["jobs_history"], timedelta(days=1))
        await database.execute("UPDATE jobs.jobs SET update_time = 'epoch'")
        ages = await database.fetch(
            "SELECT date_part('day', now() - update_time) AS days FROM jobs.job_queue ORDER BY 1"
        )

        assert [0, 1] == [int(row["days"]) for row in ages]


class TestCleaning:
    @pytest.mark.parametrize(
        ("table", "time"),
        [
            (each.rows, each.time)
            for each in SEVEN
            if "statistics" in each.name or "ratelimit" in each.name
        ],
    )
    async def test_reads_little_where_nothing_is_old(
        self, database: asyncpg.Connection, table: str, time: str
    ) -> None:
        """As in most hours: a hundred thousand rows are not looked at to find that."""
        await database.execute(ROWS[f"many_{table.replace('.', '_')}"])
        await database.execute(f"VACUUM ANALYZE {table}")
        plan = await database.fetch(
            f"EXPLAIN (ANALYZE) SELECT ctid FROM {table} "
            f"WHERE {time} < now() - interval '90 days' LIMIT 5000"
        )

        assert not [row[0] for row in plan if "Seq Scan" in row[0]]
