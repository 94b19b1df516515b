"""Histories from PostgreSQL: averaged over observers, by the minute and the hour, and fast."""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from mainstay.errors import ValidationError
from services.health.database import Database
from services.health.history import DAYS_KEPT, Incident
from services.health.minutes import Cell, Tally
from services.health.postgres_history import PostgresHistory
from services.health.postgres_records import PostgresRecords
from services.health.state import State
from services.health.uptime import Slice, Sums, history, hour_cutoffs, minute_cutoffs
from shared.postgres.queries import load_queries
from tests.integration.health.observing import batch, connected_database, minute_of

NOW = datetime(2026, 5, 20, 13, 37, 42, tzinfo=UTC)
QUERIES = load_queries("services.health", "sql/history.sql")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FILL = """
INSERT INTO health.system_health_{table} (
    target, observer, {unit}, probes, failures, latency_sum_ms, latency_max_ms, healthy_seconds,
    degraded_seconds, unhealthy_seconds, unknown_seconds, maintenance_seconds {more}
)
SELECT 'target-' || t, 'observer-' || o, $1::timestamptz - n * interval '1 {unit}', 30, 0, 60, 9,
    {seconds}, 0, 0, 0, 0 {values}
FROM generate_series({count}, 1, -1) AS n, generate_series(1, {targets}) AS t,
    generate_series(1, 2) AS o
"""


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with connected_database(postgres_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresHistory:
    return PostgresHistory(database, lambda: NOW)


async def observe(
    database: Database, observer: str, ago: timedelta, target: str = "cache", **seconds: float
) -> None:
    """Write a minute that began so long ago."""
    spent = {State(name): value for name, value in seconds.items()}
    cell = Cell(target, minute_of(NOW - ago))
    await PostgresRecords(database, observer).write(batch((cell, Tally(seconds=spent))), (), {})


class TestUptimes:
    async def test_come_from_minutes_and_hours(
        self, store: PostgresHistory, database: Database
    ) -> None:
        """Each span has what began within it."""
        for ago, down in (
            (timedelta(minutes=5), 6.0),
            (5 * HOUR, 12.0),
            (3 * DAY, 18.0),
            (20 * DAY, 24.0),
            (60 * DAY, 30.0),
            (100 * DAY, 60.0),
        ):
            await observe(database, "one", ago, healthy=60 - down, unhealthy=down)
        found = await store.history("cache")
        down_ratios = [6 / 60, 18 / 120, 36 / 180, 60 / 240, 90 / 300]

        assert pytest.approx([1 - each for each in down_ratios]) == [
            each.ratio for each in found.uptimes
        ]
        assert timedelta(seconds=60) == found.error_budget.used
        assert pytest.approx([30.0, 24.0, 18.0, 18.0]) == [
            day.downtime.total_seconds() for day in found.days
        ]

    async def test_of_two_observers_are_averaged(
        self, store: PostgresHistory, database: Database
    ) -> None:
        """Not added: a minute has sixty seconds, and one who saw little has little weight."""
        await observe(database, "one", HOUR / 2, healthy=60)
        await observe(database, "two", HOUR / 2, healthy=30, unhealthy=30)
        await observe(database, "one", HOUR / 4, healthy=60)
        await observe(database, "two", HOUR / 4, unhealthy=6)
        found = await store.history("cache")
        hour, days = found.uptimes[0], found.uptimes[2]

        assert pytest.approx(2 / 60) == hour.coverage
        assert pytest.approx(((90 / 120) + (60 / 66)) / 2) == hour.ratio
        assert pytest.approx(120 / (7 * 86_400)) == days.coverage

    async def test_are_those_of_the_model(self, store: PostgresHistory, database: Database) -> None:
        """Of random minutes of two observers, computed here a second time."""
        generator = random.Random(7)
        seen: dict[tuple[int, str], Sums] = {}
        for observer in ("one", "two"):
            for _ in range(40):
                ago = timedelta(minutes=generator.randrange(1, 1_435))
                minute = minute_of(NOW - ago)
                if (minute, observer) in seen:
                    continue
                cuts = sorted(generator.uniform(0, 60) for _ in range(3))
                sums = Sums(
                    healthy=cuts[0],
                    degraded=cuts[1] - cuts[0],
                    unhealthy=cuts[2] - cuts[1],
                    maintenance=60 - cuts[2] if generator.random() < 0.5 else 0.0,
                )
                seen[minute, observer] = sums
                await observe(
                    database,
                    observer,
                    ago,
                    healthy=sums.healthy,
                    degraded=sums.degraded,
                    unhealthy=sums.unhealthy,
                    maintenance=sums.maintenance,
                )
        minutes, hours = _averaged(seen, 60), _averaged(seen, 3600)
        expected = history("cache", minutes, hours, NOW)
        found = await store.history("cache")

        for wanted, got in zip(expected.uptimes, found.uptimes, strict=True):
            assert pytest.approx((wanted.ratio, wanted.coverage)) == (got.ratio, got.coverage)
        assert pytest.approx([day.ratio for day in expected.days]) == [
            day.ratio for day in found.days
        ]

    async def test_of_the_unknown_are_empty(
        self, store: PostgresHistory, database: Database
    ) -> None:
        """Time of which nothing is known is neither up nor down."""
        await observe(database, "one", HOUR / 2, unknown=60)
        for target in ("cache", "never seen"):
            found = await store.history(target)

            assert [(None, 0.0)] * 5 == [(each.ratio, each.coverage) for each in found.uptimes]
            assert () == found.days

    async def test_of_many_come_at_once(self, store: PostgresHistory, database: Database) -> None:
        """Each its own."""
        await observe(database, "one", HOUR / 2, "cache", healthy=60)
        await observe(database, "one", HOUR / 2, "jobs", unhealthy=60)
        found = await store.histories(["cache", "jobs", "suite"])

        assert {"cache": 1.0, "jobs": 0.0, "suite": None} == {
            name: each.uptimes[0].ratio for name, each in found.items()
        }


def _averaged(seen: dict[tuple[int, str], Sums], length: int) -> list[Slice]:
    """Return slices of whole minutes or hours, averaged over observers."""
    cells: dict[tuple[int, str], Sums] = {}
    for (minute, observer), sums in seen.items():
        key = (minute * 60 // length, observer)
        cells[key] = cells.get(key, Sums()) + sums
    slices = []
    for cell in sorted({cell for cell, _ in cells}):
        each = [sums for (other, _), sums in cells.items() if other == cell]
        whole = sum(each, Sums())
        weight = min(max(sums.known for sums in each), length) / whole.known
        averaged = Sums(
            healthy=whole.healthy * weight,
            degraded=whole.degraded * weight,
            unhealthy=whole.unhealthy * weight,
            maintenance=whole.maintenance * weight,
        )
        start = datetime.fromtimestamp(cell * length, UTC)
        slices.append(Slice(start_time=start, sums=averaged))
    return slices


class TestIncidents:
    async def put(self, database: Database, *ages: timedelta, target: str = "jobs") -> list[str]:
        """Write incidents of a second each; returns their ids."""
        records, ids = PostgresRecords(database, "one"), []
        for age in ages:
            ids.append(str(uuid4()))
            seen = Incident(
                incident_id=ids[-1],
                target=target,
                worst_state=State.DEGRADED,
                start_time=NOW - age,
                end_time=NOW - age + timedelta(seconds=1),
                because=("database",),
                message="Gone.",
                request_id="r-1",
            )
            await records.write(None, [seen], {})
        return ids

    async def test_come_in_pages(self, store: PostgresHistory, database: Database) -> None:
        """The newest first; those that come in between neither repeat nor hide others."""
        ids = await self.put(database, 4 * HOUR, 3 * HOUR, 2 * HOUR, HOUR)
        first = await store.incidents("jobs", limit=2)
        await self.put(database, timedelta(minutes=1))
        place = (first[-1].start_time.isoformat(), first[-1].incident_id)
        second = await store.incidents("jobs", limit=5, before=place)

        assert ids[::-1] == [each.incident_id for each in (*first, *second)]
        assert ("jobs", State.DEGRADED, ("database",), "Gone.", "r-1") == (
            first[0].target,
            first[0].worst_state,
            first[0].because,
            first[0].message,
            first[0].request_id,
        )

    async def test_are_those_of_90_days(self, store: PostgresHistory, database: Database) -> None:
        """Older ones may still be there."""
        await self.put(database, timedelta(days=DAYS_KEPT + 1))

        assert [] == await store.incidents("jobs", limit=5)

    async def test_of_all_targets_come_together(
        self, store: PostgresHistory, database: Database
    ) -> None:
        """For a page that shows the newest."""
        (jobs,) = await self.put(database, 2 * HOUR)
        (cache,) = await self.put(database, HOUR, target="cache")
        await self.put(database, HOUR / 2, target="gone")
        found = await store.newest_incidents(["jobs", "cache"], 20)

        assert [cache, jobs] == [each.incident_id for each in found]

    @pytest.mark.parametrize(
        "forged",
        [("yesterday", str(uuid4())), ("2026-05-20T13:00:00", str(uuid4())), ("x",)],
    )
    async def test_refuse_a_cursor_that_is_none(
        self, store: PostgresHistory, forged: tuple[str, ...]
    ) -> None:
        """As of any list."""
        with pytest.raises(ValidationError):
            await store.incidents("jobs", limit=5, before=forged)


class TestPlans:
    @pytest.fixture
    async def crowded(
        self, postgres_url: str, database: Database
    ) -> AsyncIterator[asyncpg.Connection]:
        """Fill two days of minutes and 90 days of hours of 12 targets and 2 observers."""
        connection = await asyncpg.connect(postgres_url)
        for table, unit, seconds, count in (
            ("logs", "minute", 60, 2_880),
            ("hours", "hour", 3_600, 2_160),
        ):
            statement = FILL.format(
                table=table,
                unit=unit,
                seconds=seconds,
                count=count,
                targets=12,
                more=", worst_state" if table == "logs" else "",
                values=", 'healthy'" if table == "logs" else "",
            )
            await connection.execute(statement, datetime.now(UTC).replace(**WHOLE[unit]))
        await connection.execute(
            "INSERT INTO health.incidents SELECT gen_random_uuid(), 'target-' || n % 12, 'one', "
            "'degraded', now() - n * interval '10 min', now() - n * interval '9 min', '{}', '', '' "
            "FROM generate_series(10, 12000) AS n"
        )
        await connection.execute("ANALYZE")
        yield connection
        await connection.close()

    async def test_of_one_target_read_its_rows_only(self, crowded: asyncpg.Connection) -> None:
        """Of twelve; whatever the size of the tables."""
        now = datetime.now(UTC)
        for name, cutoffs, bound in (
            ("sum_minutes", minute_cutoffs(now), 2 * 1_441),
            ("sum_hours", hour_cutoffs(now), 2 * 2_161),
        ):
            plan = await _plan(crowded, QUERIES[name], "target-3", cutoffs)

            assert max(_rows(plan)) <= bound

    async def test_of_a_page_of_incidents_read_a_page(self, crowded: asyncpg.Connection) -> None:
        """In the order of an index."""
        now = datetime.now(UTC)
        page = await _plan(
            crowded, QUERIES["list_incidents"], "target-3", now - 90 * DAY, now, uuid4(), 50
        )
        names = [f"target-{number}" for number in range(12)]
        newest = await _plan(crowded, QUERIES["newest_incidents"], names, 20)

        assert "Seq Scan" not in json.dumps(page) + json.dumps(newest)
        assert max(_rows(page)) <= 50
        assert max(_rows(newest)) <= 20


WHOLE: dict[str, dict[str, Any]] = {
    "minute": {"second": 0, "microsecond": 0},
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
}


async def _plan(connection: asyncpg.Connection, statement: str, *arguments: object) -> Any:
    """Return how a query is done, as the service's connections do it."""
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    return json.loads(text)[0]["Plan"]


def _rows(plan: Any) -> list[float]:
    """Return how many rows each part of a plan read: those it gave, and those it left out."""
    below = [rows for part in plan.get("Plans", ()) for rows in _rows(part)]
    return [plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0.0), *below]
