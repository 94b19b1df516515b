"""Spans of what a recorded call asks of PostgreSQL and Redis, and how long queries take."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY

from mainstay.errors import UnavailableError
from shared.postgres.pool import Postgres
from shared.postgres.queries import load_queries
from shared.redis.client import Redis, Script
from shared.rpc.call import Tenant
from shared.telemetry import tracing
from tests.recorded_spans import attributes_of, context_of

ACME = Tenant("acme")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALL = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
OTHER_CALL = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"


@pytest.fixture
def call(recorded: InMemorySpanExporter) -> Iterator[tracing.Recording]:
    """Be within a call that is recorded."""
    recording = tracing.enter(CALL)
    yield recording
    recording.is_open = False


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Postgres]:
    """Connect to PostgreSQL, with a single connection."""
    postgres = Postgres(postgres_url, max_size=1)
    await postgres.start()
    yield postgres
    await postgres.close()


@pytest.fixture
async def redis(redis_url: str, recorded: InMemorySpanExporter) -> AsyncIterator[Redis]:
    """Connect to Redis in a process that records."""
    redis = Redis(redis_url)
    await redis.start()
    yield redis
    await redis.close()


@pytest.fixture
def query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Load a query from a file."""
    package = tmp_path / "sql_of_spans"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text("-- name: say_it\nSELECT $1::text;\n")
    monkeypatch.syspath_prepend(tmp_path)
    return load_queries("sql_of_spans", "queries.sql")["say_it"]


def spans_of(recorded: InMemorySpanExporter, system: str) -> list[ReadableSpan]:
    """Return what was asked of a system."""
    spans = recorded.get_finished_spans()
    return [one for one in spans if attributes_of(one).get("db.system.name") == system]


async def say(postgres: Postgres, query: str) -> None:
    """Run a named query in a transaction."""

    async def work(connection: Any) -> None:
        await connection.fetchval(query, "a-secret-parameter")

    await postgres.run(ACME, work)


class TestPostgres:
    async def test_a_span_for_each_query(
        self,
        call: tracing.Recording,
        recorded: InMemorySpanExporter,
        postgres: Postgres,
        query: str,
    ) -> None:
        """By its name, in the call's trace, without parameters."""
        recorded.clear()
        await say(postgres, query)
        spans = spans_of(recorded, "postgresql")
        said = spans[1]

        assert ["(begin)", "say_it", "(commit)"] == [one.name for one in spans]
        assert {TRACE_ID} == {f"{context_of(one).trace_id:032x}" for one in spans}
        assert {"00f067aa0ba902b7"} == {
            f"{one.parent.span_id:016x}" for one in spans if one.parent is not None
        }
        assert SpanKind.CLIENT is said.kind
        namespace = attributes_of(said).pop("db.namespace")
        assert str(namespace).startswith("test_")
        assert ("say_it", "say_it") == (
            attributes_of(said)["db.operation.name"],
            attributes_of(said)["db.query.summary"],
        )
        assert "a-secret-parameter" not in said.to_json()

    async def test_of_one_that_fails(
        self, call: tracing.Recording, recorded: InMemorySpanExporter, postgres: Postgres
    ) -> None:
        """With PostgreSQL's code; the text may quote values."""
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with postgres.transaction(ACME) as connection:
                await connection.execute("SELECT 1 / 0")
        (failed,) = [
            one
            for one in spans_of(recorded, "postgresql")
            if one.status.status_code is StatusCode.ERROR
        ]

        assert ("(other)", "22012", "DivisionByZeroError") == (
            failed.name,
            attributes_of(failed)["db.response.status_code"],
            attributes_of(failed)["error.type"],
        )
        assert "division by zero" not in failed.to_json()

    async def test_waiting_for_a_connection(
        self,
        call: tracing.Recording,
        recorded: InMemorySpanExporter,
        postgres: Postgres,
        query: str,
    ) -> None:
        """Is a span of its own: it is neither the query's time nor the database's."""
        async with postgres.transaction(ACME) as connection:
            waiting = asyncio.create_task(say(postgres, query))
            await connection.execute("SELECT pg_sleep(0.02)")
        await waiting

        assert "(wait for a connection)" in {one.name for one in spans_of(recorded, "postgresql")}

    async def test_none_without_a_call(
        self, recorded: InMemorySpanExporter, postgres: Postgres, query: str
    ) -> None:
        """Nor after it: what a call leaves behind works for nobody in particular."""
        tracing.enter(CALL).is_open = False
        await say(postgres, query)

        assert [] == spans_of(recorded, "postgresql")

    async def test_of_several_calls_at_once(
        self, recorded: InMemorySpanExporter, postgres: Postgres, query: str
    ) -> None:
        """In the trace of one of those that are recorded, linked to the others."""
        with tracing.on_behalf_of(["", CALL[:-1] + "0", OTHER_CALL, CALL]):
            await say(postgres, query)
        span = spans_of(recorded, "postgresql")[1]

        assert "a" * 32 == f"{context_of(span).trace_id:032x}"
        assert [TRACE_ID] == [f"{link.context.trace_id:032x}" for link in span.links]


class TestQueryDurations:
    async def test_by_name(self, postgres: Postgres, query: str) -> None:
        """What stands in no file counts as one query, whatever it says."""
        before = [self.count(name) for name in ("say_it", "(other)", "(commit)")]
        await say(postgres, query)
        async with postgres.transaction(ACME) as connection:
            await connection.execute("SELECT 1")
            await connection.fetch("SELECT 2")
        after = [self.count(name) for name in ("say_it", "(other)", "(commit)")]

        assert [1, 2, 2] == [now - then for now, then in zip(after, before, strict=True)]

    @staticmethod
    def count(name: str) -> float:
        """Return how often a query has run."""
        found = "mainstay_postgres_query_duration_seconds_count"
        return REGISTRY.get_sample_value(found, {"query": name}) or 0.0

    async def test_the_pool_tells_its_size_and_waits(self, postgres: Postgres, query: str) -> None:
        """How many connections are open, and how long callers waited for one."""
        waits = "mainstay_postgres_pool_wait_seconds_count"
        before = REGISTRY.get_sample_value(waits) or 0.0
        await say(postgres, query)

        assert 1 == (REGISTRY.get_sample_value(waits) or 0.0) - before
        assert (REGISTRY.get_sample_value("mainstay_postgres_pool_size") or 0.0) >= 1


class TestRedis:
    async def test_a_span_for_each_command(
        self, call: tracing.Recording, recorded: InMemorySpanExporter, redis: Redis
    ) -> None:
        """By its name, without keys and values."""
        recorded.clear()
        await redis.execute("SET", "a-secret-key", "a-secret-value")
        (span,) = spans_of(recorded, "redis")

        assert ("SET", SpanKind.CLIENT, TRACE_ID) == (
            span.name,
            span.kind,
            f"{context_of(span).trace_id:032x}",
        )
        assert {
            "db.system.name": "redis",
            "db.namespace": "0",
            "db.operation.name": "SET",
        } == attributes_of(span)

    async def test_of_a_script(
        self,
        call: tracing.Recording,
        recorded: InMemorySpanExporter,
        redis: Redis,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Is called by the script's name."""
        package = tmp_path / "lua_of_spans"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "answer.lua").write_text("return 42\n")
        monkeypatch.syspath_prepend(tmp_path)
        await redis.run_script(Script.load("lua_of_spans", "answer.lua"), [], [])
        evalsha, _ = spans_of(recorded, "redis")

        assert ("EVALSHA answer", "answer") == (
            evalsha.name,
            attributes_of(evalsha)["db.stored_procedure.name"],
        )

    async def test_in_one_batch_each_call_has_its_own(
        self, recorded: InMemorySpanExporter, redis: Redis
    ) -> None:
        """What leaves together belongs to different calls, recorded or not."""

        async def serve(traceparent: str, command: str) -> None:
            if tracing.is_sampled(traceparent):
                tracing.enter(traceparent)
            await redis.execute(command, "key")

        recorded.clear()
        batch = redis.batch
        await asyncio.gather(
            serve(CALL, "GET"), serve(CALL[:-1] + "0", "TTL"), serve(OTHER_CALL, "STRLEN")
        )

        assert 1 == redis.batch - batch
        assert {"GET": TRACE_ID, "STRLEN": "a" * 32} == {
            one.name: f"{context_of(one).trace_id:032x}" for one in spans_of(recorded, "redis")
        }

    async def test_of_one_that_fails(
        self, call: tracing.Recording, recorded: InMemorySpanExporter, redis: Redis
    ) -> None:
        """With the kind of the failure."""
        await redis.execute("SET", "text", "value")
        with pytest.raises(Exception, match="WRONGTYPE"):
            await redis.execute("LPUSH", "text", "1")
        *_, failed = spans_of(recorded, "redis")

        assert ("LPUSH", StatusCode.ERROR) == (failed.name, failed.status.status_code)
        assert attributes_of(failed)["error.type"]

    async def test_refused_commands_raise_as_ever(
        self, call: tracing.Recording, redis: Redis
    ) -> None:
        """Without a connection there is no command, and no span."""
        await redis.close()
        with pytest.raises(UnavailableError):
            await redis.execute("GET", "key")

    async def test_how_many_wait(self, redis: Redis) -> None:
        """Commands in flight are counted when somebody asks."""
        name = "mainstay_redis_commands_in_flight"
        replies = [redis.send("GET", "key") for _ in range(7)]
        during = REGISTRY.get_sample_value(name)
        await asyncio.gather(*replies)

        assert (7, 0) == (during, REGISTRY.get_sample_value(name))
