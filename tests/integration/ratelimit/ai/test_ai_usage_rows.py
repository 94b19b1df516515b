"""Every AI call is kept, once, and can be summed up."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from mainstay.errors import DatabaseError, PreconditionError, ValidationError
from services.ratelimit.ai_usage_summary import Dimension, UsageSum
from services.ratelimit.policy import DAY, SECOND
from services.ratelimit.postgres_ai_usage import PATIENCE
from tests.integration.ratelimit.ai.conftest import StartSpender
from tests.integration.ratelimit.ai.spender import GLOBEX, Spender

EVERY_ROW = "SELECT * FROM ratelimit.ai_api_usage ORDER BY record_time"


class TestRow:
    async def test_has_all_that_was_told(self, here: Spender, rows: asyncpg.Connection) -> None:
        """And what it cost, and the plan at that time."""
        here.plans.assigned["user:ann"] = "pro"
        await here.record(
            1_000,
            500,
            400,
            latency=1_500_000,
            operation="chat",
            error="timed out\n\tafter\x00 a while ",
            request_id="r1",
        )
        (row,) = [dict(row) for row in await rows.fetch(EVERY_ROW)]
        times = [row.pop(name) for name in ("record_time", "create_time")]
        row.pop("usage_id")

        assert {
            "tenant": "acme",
            "subject": "user:ann",
            "plan": "pro",
            "provider": "openai",
            "model": "gpt-4o",
            "operation": "chat",
            "input_tokens": 1_000,
            "output_tokens": 500,
            "cached_input_tokens": 400,
            "latency_us": 1_500_000,
            "cost_micros": 7_000,
            "error": "timed out after a while",
            "request_id": "r1",
        } == row
        assert all(abs((datetime.now(UTC) - time).total_seconds()) < 60 for time in times)

    async def test_says_what_is_not_known(self, here: Spender, rows: asyncpg.Connection) -> None:
        """Neither a price nor a latency is zero."""
        await here.record(1_000, model="unheard-of")
        row = await rows.fetchrow(EVERY_ROW)

        assert row is not None
        assert (None, None) == (row["cost_micros"], row["latency_us"])

    async def test_of_a_repeated_request_is_one(
        self, here: Spender, there: Spender, rows: asyncpg.Connection
    ) -> None:
        """From wherever it comes, at the same time."""
        await asyncio.gather(
            *(each.record(1, request_id="r1") for each in (here, there) * 4),
            *(here.record(1) for _ in range(3)),
        )

        assert 4 == len(await rows.fetch(EVERY_ROW))


class TestPostgresAway:
    async def test_calls_are_charged_now_and_kept_later(
        self, start_spender: StartSpender, private_postgres: PostgresServer
    ) -> None:
        """Once, also those that were repeated meanwhile."""
        here = await start_spender(postgres_url=private_postgres.url)
        await private_postgres.stop()
        for request_id in ("r1", "r2", "r2", ""):
            recorded = await here.record(1_000, request_id=request_id)
        waiting = _gauge("mainstay_ratelimit_ai_usage_waiting")
        with pytest.raises(DatabaseError):
            await here.usage.write_once()
        await private_postgres.start()
        await here.usage.write_once()
        page = await here.summarize()

        assert [7_000, 42_500] == [state.remaining for state in recorded.budgets]
        assert (4.0, 0.0) == (waiting, _gauge("mainstay_ratelimit_ai_usage_waiting"))
        assert (3, 7_500) == (page.total.calls, page.total.cost)

    async def test_a_silent_one_holds_nobody_up(
        self, start_spender: StartSpender, private_postgres: PostgresServer
    ) -> None:
        """The first caller waits a second, those after it not at all; nothing is kept twice."""
        here = await start_spender(postgres_url=private_postgres.url)
        await here.record(1_000)
        private_postgres.pause()
        try:
            async with asyncio.timeout(3 * PATIENCE):
                for number in range(20):
                    await here.record(1_000, request_id=f"r{number}")
        finally:
            private_postgres.resume()
        await here.usage.write_once()
        page = await here.summarize()

        assert 21 == page.total.calls

    async def test_no_more_wait_than_there_is_room_for(
        self, start_spender: StartSpender, private_postgres: PostgresServer
    ) -> None:
        """The caller is told, and may repeat the request: it was charged once."""
        await private_postgres.stop()
        here = await start_spender(postgres_url=private_postgres.url, max_waiting=2)
        for _ in range(2):
            await here.record(1_000)
        with pytest.raises(DatabaseError, match="with the same request id"):
            await here.record(1_000, request_id="r1")
        with pytest.raises(DatabaseError):
            await here.record(1_000, request_id="r1")
        await private_postgres.start()
        async with asyncio.timeout(20):
            connecting = asyncio.create_task(here.database.run_connecting())
            await here.database.wait_connected()
            connecting.cancel()
            await asyncio.wait({connecting})
        await here.usage.write_once()
        recorded = await here.record(1_000, request_id="r1")
        page = await here.summarize()

        assert (True, 3) == (recorded.repeated, page.total.calls)
        assert [7_000, 42_500] == [state.remaining for state in recorded.budgets]

    async def test_those_that_were_not_written_at_the_end_are_told(
        self, start_spender: StartSpender, private_postgres: PostgresServer
    ) -> None:
        """In the log, one by one, and in a metric."""
        here = await start_spender(postgres_url=private_postgres.url)
        await private_postgres.stop()
        before = _gauge("mainstay_ratelimit_ai_usage_lost_total")
        for _ in range(2):
            await here.record(1_000)
        await here.usage.close()
        lost = _gauge("mainstay_ratelimit_ai_usage_lost_total") - before

        assert 2 == lost


class TestWithoutPostgres:
    async def test_budgets_hold_and_sums_are_refused(self, start_spender: StartSpender) -> None:
        """Nothing is kept where there is nothing to keep it in."""
        here = await start_spender(postgres_url=None)
        recorded = await here.record(1_000)
        with pytest.raises(PreconditionError) as caught:
            await here.summarize()

        assert [9_000, 47_500] == [state.remaining for state in recorded.budgets]
        assert "NO_DATABASE" == caught.value.reason


class TestRedisAway:
    async def test_calls_are_kept_and_said_to_be_degraded(
        self, start_spender: StartSpender, private_redis: RedisServer
    ) -> None:
        """They have taken place, whether or not a budget knows."""
        here = await start_spender(redis_url=private_redis.url)
        reserved = await here.reserve(1_000)
        await private_redis.stop()
        recorded = await here.record(1_000, reservation=reserved.reservation)
        page = await here.summarize()

        assert (True, 2_500) == (recorded.degraded, recorded.cost)
        assert 1 == page.total.calls


class TestSums:
    @pytest.fixture
    async def busy(self, here: Spender) -> Spender:
        """Record some calls of two subjects."""
        calls: list[dict[str, Any]] = [
            {"tokens": 1_000, "answer": 100, "operation": "chat", "latency": SECOND},
            {"tokens": 2_000, "answer": 200, "operation": "quiz", "latency": 3 * SECOND},
            {"tokens": 3_000, "subject": "user:bob", "model": "unheard-of", "operation": "chat"},
            {"tokens": 10, "subject": "user:bob", "provider": "other", "cost": 70_000},
            {"tokens": 0, "error": "overloaded"},
        ]
        for call in calls:
            await here.record(**{"plan": "enterprise", **call})
        await here.record(99, tenant=GLOBEX, plan="enterprise")
        return here

    async def test_are_of_all_calls_of_a_tenant(self, busy: Spender) -> None:
        """Those without a price are counted, and so are those that failed."""
        page = await busy.summarize()

        assert page.total == UsageSum(
            calls=5,
            failed_calls=1,
            input_tokens=6_010,
            output_tokens=300,
            cached_input_tokens=0,
            cost=80_500,
            unpriced_calls=1,
            mean_latency=2 * SECOND,
        )
        assert [page.total] == [group.sum for group in page.groups]
        assert [[]] == [group.values for group in page.groups]

    async def test_are_by_what_is_asked_for(self, busy: Spender) -> None:
        """The most expensive first, in the order of the question."""
        page = await busy.summarize(group_by=(Dimension.MODEL, Dimension.PROVIDER))

        assert [
            (["gpt-4o", "other"], 1, 70_000),
            (["gpt-4o", "openai"], 3, 10_500),
            (["unheard-of", "openai"], 1, 0),
        ] == [(group.values, group.sum.calls, group.sum.cost) for group in page.groups]

    @pytest.mark.parametrize(
        ("dimension", "values"),
        [
            (Dimension.SUBJECT, ["user:ann", "user:bob"]),
            (Dimension.OPERATION, ["", "chat", "quiz"]),
            (Dimension.PROVIDER, ["openai", "other"]),
        ],
    )
    async def test_are_by_any_dimension(
        self, busy: Spender, dimension: Dimension, values: list[str]
    ) -> None:
        """One alone."""
        page = await busy.summarize(group_by=(dimension,))

        assert values == sorted(group.values[0] for group in page.groups)

    async def test_are_by_day_in_utc(self, here: Spender, rows: asyncpg.Connection) -> None:
        """Wherever the server thinks it is."""
        for _ in range(2):
            await here.record(1)
        for hour in (23, 24):
            await rows.execute(
                "UPDATE ratelimit.ai_api_usage SET record_time = $1::timestamptz "
                "+ $2 * interval '1 h' WHERE usage_id = (SELECT usage_id "
                "FROM ratelimit.ai_api_usage ORDER BY record_time DESC LIMIT 1)",
                datetime(2026, 1, 31, tzinfo=UTC),
                hour,
            )
        end = int(datetime(2026, 2, 2, tzinfo=UTC).timestamp()) * SECOND
        page = await here.summarize(group_by=(Dimension.DAY,), end=end)

        assert ["2026-01-31", "2026-02-01"] == sorted(group.values[0] for group in page.groups)

    async def test_can_be_narrowed(self, busy: Spender) -> None:
        """By subject, provider and model."""
        asked: list[dict[str, Any]] = [
            {"subject": "user:bob"},
            {"provider": "other"},
            {"model": "unheard-of"},
        ]
        pages = [await busy.summarize(**narrowed) for narrowed in asked]

        assert [2, 1, 1] == [page.total.calls for page in pages]

    async def test_come_page_by_page(self, here: Spender) -> None:
        """Each group once, also of many that cost the same; the total is of all."""
        for number in range(7):
            await here.record(10, subject=f"user:{number}", plan="enterprise")
        asked: dict[str, Any] = {"group_by": (Dimension.SUBJECT,), "page_size": 3}
        page = await here.summarize(**asked)
        groups, totals = [*page.groups], [page.total.calls]
        while page.next_token:
            await here.record(1_000, subject="user:late", plan="enterprise")
            page = await here.summarize(**asked, page_token=page.next_token)
            groups += page.groups
            totals.append(page.total.calls)

        assert sorted(f"user:{number}" for number in range(7)) == sorted(
            group.values[0] for group in groups
        )
        assert [7, 7, 7] == totals

    async def test_of_nothing_are_nothing(self, here: Spender) -> None:
        """No group, and a sum of zeros."""
        page = await here.summarize()

        assert (0, 0, None, []) == (
            page.total.calls,
            page.total.cost,
            page.total.mean_latency,
            page.groups,
        )

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"start": 100 * DAY, "end": 100 * DAY}, "start_time"),
            ({"start": 100 * DAY, "end": 190 * DAY + 1}, "start_time"),
            ({"group_by": (Dimension.DAY, Dimension.DAY)}, "group_by"),
            ({"provider": "a/b"}, "provider"),
            ({"model": "a" * 129}, "model"),
            ({"subject": "a\x00"}, "subject"),
            ({"page_size": 501}, "page_size"),
            ({"page_token": "made-up"}, "page_token"),
        ],
    )
    async def test_are_refused_for_what_makes_no_sense(
        self, here: Spender, asked: dict[str, Any], field: str
    ) -> None:
        """With the field."""
        with pytest.raises(ValidationError) as caught:
            await here.summarize(**asked)

        assert [field] == list(caught.value.fields)


class TestRetention:
    async def test_is_90_days(self, here: Spender, rows: asyncpg.Connection) -> None:
        """Never less."""
        for days in (89, 91):
            await here.record(days)
            await rows.execute(
                "UPDATE ratelimit.ai_api_usage SET record_time = now() - $1 * interval '1 d' "
                "WHERE input_tokens = $1",
                days,
            )
        deleted = await here.usage.clean_once()
        left = await rows.fetch(EVERY_ROW)

        assert (1, [89]) == (deleted, [row["input_tokens"] for row in left])


def _gauge(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0
