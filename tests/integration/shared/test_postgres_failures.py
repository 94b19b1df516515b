"""PostgreSQL that is gone, hangs, is full or wrongly addressed: bounded waits and recovery."""

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import ConfigurationError, DatabaseError, MainstayError
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant
from shared.telemetry import metrics

ACME = Tenant("acme")
PATIENCE = 20.0


@asynccontextmanager
async def pool_of(url: str, **options: Any) -> AsyncIterator[Postgres]:
    postgres = Postgres(url, **options)
    try:
        await postgres.start()
        yield postgres
    finally:
        await postgres.close()


async def one(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT 1")
    return found


async def backend_of(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT pg_backend_pid()")
    return found


async def recovers(postgres: Postgres) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await postgres.run(ACME, one)
            except DatabaseError:
                await asyncio.sleep(0.05)
            else:
                return


class TestAProcessThatIsFrozen:
    async def test_its_locks_are_given_to_others(self, postgres_url: str) -> None:
        """A transaction of which nothing is heard ends, and with it what it has locked."""
        impatient = {"idle_in_transaction_session_timeout": "200ms"}
        given: list[bool] = []

        async def lock(connection: Connection) -> None:
            await connection.execute("SELECT pg_advisory_xact_lock(1)")

        async def freeze(connection: Connection) -> None:
            await lock(connection)
            await other.run(ACME, lock)
            given.append(True)
            await one(connection)

        async with (
            pool_of(postgres_url, session_settings=impatient) as frozen,
            pool_of(postgres_url) as other,
        ):
            with pytest.raises(DatabaseError, match="retry with backoff"):
                await frozen.run(ACME, freeze)
            await recovers(frozen)

        assert given

    async def test_by_default(self, postgres_url: str) -> None:
        """Others wait for 5 s, longer than any statement may take."""
        async with pool_of(postgres_url) as postgres, postgres.transaction(ACME) as connection:
            assert "5s" == await connection.fetchval("SHOW idle_in_transaction_session_timeout")


class TestAServerThatGoes:
    async def test_a_crash_heals(self, private_postgres: PostgresServer) -> None:
        """Killed and started again: an error of the tree in between, and no restart of ours."""
        async with pool_of(private_postgres.url) as postgres:
            await postgres.run(ACME, one)
            await private_postgres.kill()
            with pytest.raises(DatabaseError) as caught:
                await postgres.run(ACME, one)
            await private_postgres.start()
            await recovers(postgres)

        assert (caught.value.reason, caught.value.metadata) == (
            "DATABASE_UNAVAILABLE",
            {"dependency": "postgres"},
        )

    async def test_is_told_in_one_line(
        self, private_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What asyncpg says of it while it tries has no stack trace of its code."""

        def told() -> list[logging.LogRecord]:
            return [record for record in caplog.records if record.name == "asyncpg.pool"]

        async with pool_of(private_postgres.url) as postgres:
            await postgres.run(ACME, one)
            await private_postgres.kill()
            async with asyncio.timeout(PATIENCE):
                while not told():
                    with suppress(DatabaseError):
                        await postgres.run(ACME, one)
                    await asyncio.sleep(0.05)
        record = told()[0]

        assert "Failed to restore" in record.getMessage()
        assert "Connect" in record.getMessage()
        assert record.exc_info is None

    async def test_a_clean_stop_heals(self, private_postgres: PostgresServer) -> None:
        """So does an administrator's restart, also in the middle of a transaction."""
        async with pool_of(private_postgres.url) as postgres:

            async def stopped_midway(connection: Connection) -> int:
                if private_postgres._child is not None:
                    await private_postgres.stop()
                return await one(connection)

            with pytest.raises(DatabaseError):
                await postgres.run(ACME, stopped_midway)
            await private_postgres.start()
            await recovers(postgres)

    async def test_one_that_hangs_is_not_waited_for(self, postgres_url: str) -> None:
        """A frozen backend costs a statement's timeout, and another one takes its place."""
        async with pool_of(postgres_url, command_timeout=0.3, max_size=1) as postgres:
            backend = await postgres.run(ACME, backend_of)
            os.kill(backend, signal.SIGSTOP)
            try:
                began = time.monotonic()
                with pytest.raises(DatabaseError):
                    await postgres.ping()
                took = time.monotonic() - began
                await recovers(postgres)
                another = await postgres.run(ACME, backend_of)
            finally:
                os.kill(backend, signal.SIGCONT)

        assert took < 3.0
        assert another != backend

    async def test_closing_does_not_wait_for_it(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A drain ends although the database does not answer."""
        monkeypatch.setattr("shared.postgres.pool.CONNECT_TIMEOUT", 0.3)
        async with pool_of(postgres_url) as postgres:
            backend = await postgres.run(ACME, backend_of)
            os.kill(backend, signal.SIGSTOP)
            began = time.monotonic()
        took = time.monotonic() - began
        os.kill(backend, signal.SIGCONT)

        assert took < 3.0


class TestAStartThatFails:
    async def test_leaves_nothing_open(self, postgres_url: str) -> None:
        """Who tries again and again would have a pool for every try."""
        postgres = Postgres(postgres_url, command_timeout=1e-6)
        with pytest.raises(DatabaseError):
            await postgres.start()
        async with pool_of(postgres_url) as other, other.transaction(ACME) as connection:
            async with asyncio.timeout(PATIENCE):
                while await _others(connection):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # a server tells nobody that a client left
            with pytest.raises(DatabaseError, match="not connected"):
                await postgres.ping()


async def _others(connection: Connection) -> int:
    """Return how many connections of ours the database has besides this one."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'mainstay' AND pid <> pg_backend_pid()"
    )
    return found


class TestAFullPool:
    async def test_waits_for_a_moment(self, postgres_url: str) -> None:
        """A connection that comes back in time is used."""
        async with pool_of(postgres_url, max_size=1) as postgres:

            async def work(connection: Connection) -> int:
                await asyncio.sleep(0)
                return await one(connection)

            found = await asyncio.gather(*(postgres.run(ACME, work) for _ in range(50)))

        assert found == [1] * 50
        assert metrics.postgres_pool_in_use._value.get() == 0

    async def test_and_no_longer(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who finds none in time is told so; who has one is not disturbed."""
        monkeypatch.setattr("shared.postgres.pool.ACQUIRE_TIMEOUT", 0.2)
        async with pool_of(postgres_url, max_size=1) as postgres:
            async with postgres.transaction(ACME) as connection:
                began = time.monotonic()
                with pytest.raises(DatabaseError) as caught:
                    await postgres.ping()
                took = time.monotonic() - began
                still = await one(connection)
            after = await postgres.ping()

        assert 0.2 <= took < 1.9
        assert caught.value.transient
        assert (still, after > 0) == (1, True)


class TestStarting:
    MIGRATIONS = Migrations(service="jobs", package="services.jobs")
    EVERY_WAY = pytest.mark.parametrize(
        "options", [{}, {"migrations": MIGRATIONS}], ids=["pool", "migrations"]
    )

    @EVERY_WAY
    async def test_an_address_where_nobody_is(self, options: dict[str, Any]) -> None:
        """It may come: the error is transient."""
        with pytest.raises(DatabaseError) as caught:
            async with pool_of("postgresql://a:hunter2@127.0.0.1:1/b", **options):
                pass

        assert caught.value.transient
        assert "hunter2" not in caught.value.message

    @EVERY_WAY
    @pytest.mark.parametrize(
        "change",
        [(r"/\w+$", "/nowhere"), (r"//\w+@", "//stranger:hunter2@")],
        ids=["database", "role"],
    )
    async def test_what_waiting_does_not_mend(
        self, session_postgres_url: str, options: dict[str, Any], change: tuple[str, str]
    ) -> None:
        """A database or role that does not exist is the operators' to correct."""
        url = re.sub(*change, session_postgres_url)
        with pytest.raises(ConfigurationError, match="MAINSTAY_POSTGRES_URL") as caught:
            async with pool_of(url, **options):
                pass

        assert "hunter2" not in caught.value.message

    @EVERY_WAY
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://a:hunter2/x@127.0.0.1/b",
            "postgresql://a:b@127.0.0.1:hunter2/b",
            "postgresql://a:hunter2@127.0.0.1/b?sslmode=perhaps",
        ],
    )
    async def test_a_url_that_is_none(self, options: dict[str, Any], url: str) -> None:
        """It is refused, not waited for, and not quoted."""
        with pytest.raises(MainstayError, match="MAINSTAY_POSTGRES_URL") as caught:
            async with pool_of(url, **options):
                pass

        assert isinstance(caught.value, ConfigurationError)
        assert "hunter2" not in caught.value.message

    async def test_before_the_start_there_is_nothing(self) -> None:
        """A pool that is not connected says so, as a DatabaseError."""
        postgres = Postgres("postgresql://127.0.0.1/none")
        with pytest.raises(DatabaseError, match="not connected"):
            await postgres.ping()
        await postgres.close()

    async def test_listening_has_a_connection_of_its_own(self, postgres_url: str) -> None:
        """A notification arrives while the pool is fully used."""
        heard: asyncio.Queue[str] = asyncio.Queue()
        async with (
            pool_of(postgres_url, max_size=1) as postgres,
            postgres.listen_connection() as listening,
        ):
            await listening.add_listener("news", lambda *args: heard.put_nowait(args[3]))
            async with postgres.transaction(ACME) as connection:
                await connection.execute("NOTIFY news, 'read all about it'")
            async with asyncio.timeout(PATIENCE):
                text = await heard.get()

        assert text == "read all about it"


class TestCancellation:
    async def test_is_none_of_the_databases_errors(self, postgres_url: str) -> None:
        """What goes wrong while a task is given up does not let it go on."""
        inside = asyncio.Event()

        async def work(postgres: Postgres) -> None:
            async with postgres.transaction(ACME):
                inside.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError as error:
                    # As asyncpg says of a connection that was lost at this very moment.
                    raise asyncpg.InterfaceError("released back to the pool") from error

        async with pool_of(postgres_url, max_size=1) as postgres:
            task = asyncio.create_task(work(postgres))
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class TestQueries:
    def test_are_found_by_name(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each block with its sentence and its SQL, whatever stands before the first."""
        package = tmp_path / "sql_of_test"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "queries.sql").write_text(
            "-- Durations are in seconds.\n\n"
            "-- name: first\n-- Says one.\nSELECT 1;\n\n"
            "-- name: second\n-- Says two.\nSELECT 2,\n  3;\n"
        )
        monkeypatch.syspath_prepend(tmp_path)

        assert load_queries("sql_of_test", "queries.sql") == {
            "first": "-- Says one.\nSELECT 1;",
            "second": "-- Says two.\nSELECT 2,\n  3;",
        }

    def test_one_name_for_two_is_refused(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second would hide the first."""
        package = tmp_path / "sql_of_twins"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "queries.sql").write_text("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")
        monkeypatch.syspath_prepend(tmp_path)

        with pytest.raises(ValueError, match="the name a is taken by another query"):
            load_queries("sql_of_twins", "queries.sql")
