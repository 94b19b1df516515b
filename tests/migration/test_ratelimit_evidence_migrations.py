"""The tables of evidence and of AI usage, as the database sees them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.ratelimit.database import MIGRATIONS
from shared.postgres.queries import load_queries

TABLES = [
    "rate_limit_violations",
    "rate_limit_statistics",
    "rate_limit_statistics_by_hour",
    "ai_api_usage",
]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)
EVIDENCE = load_queries("services.ratelimit", "sql/evidence.sql")
USAGE = load_queries("services.ratelimit", "sql/ai_usage.sql")
VIOLATION = """
INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow, count, start_time, end_time, request_id,
    limit_text
)
VALUES ($1, 'user:1', 'chat', '/chat', '', $2, false, $3, $4, $5, '', '1/s')
"""
CALL = """
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation, input_tokens, output_tokens,
    cached_input_tokens, latency_us, cost_micros, error, request_id, record_time
)
VALUES (
    gen_random_uuid(), $1, 'user:1', '', 'openai', 'gpt-4o', '', $2, 0, $3, 0, $4, '', $5, now()
)
"""


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Migrate a database and connect to it for the service's own work."""
    await MIGRATIONS.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


class TestTables:
    @pytest.mark.parametrize("table", TABLES)
    async def test_say_what_they_are_for(self, database: asyncpg.Connection, table: str) -> None:
        """Whoever meets them in a database without the code can read it there."""
        said = "SELECT obj_description(('ratelimit.' || $1::text)::regclass)"

        assert await database.fetchval(said, table)

    @pytest.mark.parametrize("table", TABLES)
    async def test_have_a_brin_index_on_time(
        self, database: asyncpg.Connection, table: str
    ) -> None:
        """What is old is found without reading what is not."""
        found = await database.fetch(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'ratelimit' AND tablename = $1",
            table,
        )

        assert any("USING brin" in row["indexdef"] for row in found)

    @pytest.mark.parametrize("table", TABLES)
    async def test_are_of_one_tenant_at_a_time(
        self, database: asyncpg.Connection, table: str
    ) -> None:
        """Others' rows can neither be seen nor written, not by the owner of the table either."""
        await database.execute(VIOLATION, "acme", "limit", 1, NOON, NOON)
        await database.execute(CALL, "acme", 1, 0, 1, "")
        await database.execute(
            "INSERT INTO ratelimit.rate_limit_statistics (tenant, rule, plan, minute) "
            "VALUES ('acme', 'chat', '', $1)",
            NOON,
        )
        await database.execute(
            "INSERT INTO ratelimit.rate_limit_statistics_by_hour (tenant, rule, plan, hour) "
            "VALUES ('acme', 'chat', '', $1)",
            NOON,
        )
        await database.execute("SET mainstay.tenant = 'other'")

        assert 0 == await database.fetchval(f"SELECT count(*) FROM ratelimit.{table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(VIOLATION, "acme", "limit", 1, NOON, NOON)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute(CALL, "acme", 1, 0, 1, "")


class TestInvariants:
    @pytest.mark.parametrize(
        ("reason", "count", "length", "broken"),
        [
            ("whim", 1, 0, "reason_is_known"),
            ("limit", 0, 0, "something_was_denied"),
            ("limit", 1, -1, "begins_before_it_ends"),
        ],
    )
    async def test_of_violations(
        self, database: asyncpg.Connection, reason: str, count: int, length: int, broken: str
    ) -> None:
        """Whoever writes."""
        end = NOON + timedelta(seconds=length)
        with pytest.raises(asyncpg.CheckViolationError, match=broken):
            await database.execute(VIOLATION, "acme", reason, count, NOON, end)

    @pytest.mark.parametrize(
        ("given", "cached", "cost", "broken"),
        [
            (-1, 0, 1, "tokens_are_counted"),
            (1, 2, 1, "tokens_are_counted"),
            (1, 0, -1, "nobody_is_paid"),
        ],
    )
    async def test_of_ai_calls(
        self, database: asyncpg.Connection, given: int, cached: int, cost: int, broken: str
    ) -> None:
        """Whoever writes."""
        with pytest.raises(asyncpg.CheckViolationError, match=broken):
            await database.execute(CALL, "acme", given, cached, cost, "")

    async def test_a_request_is_recorded_once(self, database: asyncpg.Connection) -> None:
        """By a tenant; those without a name as often as they come."""
        for tenant, request_id in (("acme", ""), ("acme", ""), ("acme", "1"), ("other", "1")):
            await database.execute(CALL, tenant, 1, 0, 1, request_id)
        with pytest.raises(asyncpg.UniqueViolationError, match="ai_api_usage_by_request"):
            await database.execute(CALL, "acme", 1, 0, 1, "1")


class TestQueries:
    @pytest.fixture
    async def crowded(self, database: asyncpg.Connection) -> asyncpg.Connection:
        """Fill a day with 50,000 denials of 4 tenants and as many calls, and months of figures."""
        await database.execute(
            "INSERT INTO ratelimit.rate_limit_violations (tenant, subject, rule, endpoint, plan, "
            "reason, shadow, count, start_time, end_time, request_id, limit_text) "
            "SELECT 'tenant-' || n % 4, 'user:' || n % 5000, 'chat', '/chat', '', 'limit', false, "
            "1, $1::timestamptz + n * interval '1.7 s', $1::timestamptz + n * interval '1.7 s', "
            "'', '1/s' FROM generate_series(1, 50000) AS n",
            NOON,
        )
        await database.execute(
            "INSERT INTO ratelimit.rate_limit_statistics (tenant, rule, plan, minute, allowed) "
            "SELECT 'tenant-' || n % 2, 'chat', '', $1::timestamptz - n / 2 * interval '1 min', 1 "
            "FROM generate_series(0, 85000) AS n ORDER BY n DESC",
            NOON,
        )
        await database.execute(
            "INSERT INTO ratelimit.rate_limit_statistics_by_hour "
            "(tenant, rule, plan, hour, allowed) "
            "SELECT 'tenant-' || n % 4, 'rule-' || n / 4 % 5, '', "
            "$1::timestamptz - n / 20 * interval '1 hour', 1 "
            "FROM generate_series(43000, 0, -1) AS n",
            NOON,
        )
        await database.execute(
            "INSERT INTO ratelimit.ai_api_usage (usage_id, tenant, subject, plan, provider, model, "
            "operation, input_tokens, output_tokens, cached_input_tokens, latency_us, cost_micros, "
            "error, request_id, record_time) "
            "SELECT gen_random_uuid(), 'tenant-' || n % 20, 'user:' || n % 5000, '', 'openai', "
            "'gpt-4o', '', 1, 1, 0, 1, 1, '', n::text, $1::timestamptz + n * interval '1.7 s' "
            "FROM generate_series(1, 50000) AS n",
            NOON,
        )
        await database.execute("ANALYZE")
        await database.execute(EVIDENCE["plan_for_values"].replace("LOCAL ", ""))
        return database

    @pytest.mark.parametrize(
        ("tenant", "subject"), [("tenant-1", ""), ("tenant-1", "user:1"), ("*", "")]
    )
    async def test_of_a_page_of_violations_read_a_page(
        self, crowded: asyncpg.Connection, tenant: str, subject: str
    ) -> None:
        """In the order of an index, whatever the size of the table."""
        arguments = (tenant, subject, "", NOON, NOON + timedelta(days=1), END, 0, 101)
        plan = await _plan(crowded, EVIDENCE["list_violations"], *arguments)

        assert "Seq Scan" not in json.dumps(plan)
        assert max(_rows(plan)) <= 101

    async def test_of_the_figures_of_an_hour_read_little_more(
        self, crowded: asyncpg.Connection
    ) -> None:
        """Found by time, not by reading all minutes."""
        since = NOON - timedelta(hours=1)
        plan = await _plan(crowded, EVIDENCE["sum_statistics"], "tenant-1", "", "", since, 9)

        assert "Seq Scan" not in json.dumps(plan)

    async def test_of_the_figures_of_two_days_read_little_more(
        self, crowded: asyncpg.Connection
    ) -> None:
        """Of ninety: by the hour, and found by time or by tenant."""
        since = NOON - timedelta(days=2)
        for tenant in ("tenant-1", "*"):
            plan = await _plan(
                crowded, EVIDENCE["sum_statistics_by_hour"], tenant, "", "", since, 9
            )

            assert "Seq Scan" not in json.dumps(plan)

    async def test_of_ai_usage_of_a_subject_read_what_is_its(
        self, crowded: asyncpg.Connection
    ) -> None:
        """Ten of fifty thousand."""
        plan = await _plan(
            crowded,
            USAGE["sum_usage"],
            *([], "tenant-1", NOON, NOON + timedelta(days=1), "user:1", "", "", 2**62, "", 101),
        )

        assert "Seq Scan" not in json.dumps(plan)
        assert max(_rows(plan)) <= 10


async def _plan(
    connection: asyncpg.Connection, query: str, *arguments: object
) -> dict[str, object]:
    """Return the plan of a query, asked by the tenant it is for."""
    tenant = arguments[1] if isinstance(arguments[0], list) else arguments[0]
    await connection.execute(f"SET mainstay.tenant = '{tenant}'")
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
    plan: dict[str, object] = json.loads(text)[0]["Plan"]
    return plan


def _rows(plan: dict[str, object]) -> list[float]:
    """Return how many rows each part of a plan gave."""
    parts = plan.get("Plans", [])
    assert isinstance(parts, list)
    return [float(str(plan["Actual Rows"])), *(row for part in parts for row in _rows(part))]
