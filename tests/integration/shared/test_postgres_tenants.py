"""Rows of one tenant are out of reach of any other, whatever happened on the connection before."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from mainstay.errors import DatabaseError
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS, Tenant
from shared.telemetry import metrics

ACME = Tenant("acme")
OTHER = Tenant("other")
POLICY = "current_setting('mainstay.tenant', true)"
SCHEMA = f"""
CREATE TABLE notes (tenant text NOT NULL, id int PRIMARY KEY, text text NOT NULL);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notes USING (tenant = {POLICY} OR {POLICY} = '*');
"""


@asynccontextmanager
async def pool_of(url: str, **options: Any) -> AsyncIterator[Postgres]:
    postgres = Postgres(url, **options)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.close()


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Postgres]:
    """Connect once: whoever comes next gets the connection that was used before."""
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(SCHEMA)
    await admin.close()
    async with pool_of(postgres_url, max_size=1) as postgres:
        yield postgres


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """Collect what asyncpg tells the loop of connections that come back in a transaction."""
    heard: list[str] = []

    def hear(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "active transaction" in str(context["message"]):
            heard.append(context["message"])

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(hear)
    yield heard
    loop.set_exception_handler(None)


async def write(postgres: Postgres, tenant: Tenant, number: int, owner: str | None = None) -> None:
    async with postgres.transaction(tenant) as connection:
        await connection.execute(
            "INSERT INTO notes (tenant, id, text) VALUES ($1, $2, 'x')", owner or tenant, number
        )


async def read(postgres: Postgres, tenant: Tenant) -> list[int]:
    async with postgres.transaction(tenant) as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM notes ORDER BY id")]


async def check_separation(postgres: Postgres) -> None:
    """Assert that each sees its own and that nothing is set outside of a transaction."""
    async with postgres._connection() as connection:
        left = await connection.fetchval("SELECT current_setting('mainstay.tenant', true)")
        open_transaction = connection.is_in_transaction()

    assert (left or "", open_transaction) == ("", False)
    assert await read(postgres, OTHER) == [2]


class TestTheRole:
    async def test_is_an_ordinary_one(self, postgres: Postgres) -> None:
        """Policies do not hold superusers back: tests as one would prove nothing."""
        async with postgres.transaction(ACME) as connection:
            role = await connection.fetchrow(
                "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )

        assert dict(role) == {"rolsuper": False, "rolbypassrls": False}


class TestSeparation:
    async def test_each_sees_its_own(self, postgres: Postgres) -> None:
        """One cannot read what the other wrote; `*` sees all."""
        await write(postgres, ACME, 1)
        await write(postgres, OTHER, 2)

        assert await read(postgres, ACME) == [1]
        assert await read(postgres, OTHER) == [2]
        assert await read(postgres, ALL_TENANTS) == [1, 2]

    async def test_nobody_writes_for_another(self, postgres: Postgres) -> None:
        """Inserting under another name is refused, changing its rows finds none."""
        await write(postgres, OTHER, 2)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await write(postgres, ACME, 3, owner=OTHER)
        async with postgres.transaction(ACME) as connection:
            updated = await connection.execute("UPDATE notes SET text = 'mine'")
            deleted = await connection.execute("DELETE FROM notes WHERE id = 2")

        assert (updated, deleted) == ("UPDATE 0", "DELETE 0")
        assert await read(postgres, OTHER) == [2]

    async def test_without_a_transaction_there_is_nothing(self, postgres: Postgres) -> None:
        """A query that goes past the tenant sees no row at all."""
        await write(postgres, ACME, 1)
        async with postgres._connection() as connection:
            rows = await connection.fetch("SELECT * FROM notes")

        assert rows == []

    @pytest.mark.parametrize(
        "name", ["", "a b", "a'; SET mainstay.tenant = '*", "*x", "x" * 65, "ä", "a\n"]
    )
    async def test_what_is_no_tenant(self, name: str) -> None:
        """A name goes into a statement: only what needs no quoting gets near it."""
        with pytest.raises(ValueError, match="not a tenant"):
            await read(Postgres("postgresql://127.0.0.1/none"), Tenant(name))


class TestNothingStays:
    """The pool has one connection, so the next caller gets the one on which it went wrong."""

    @pytest.fixture(autouse=True)
    async def rows(self, postgres: Postgres) -> None:
        await write(postgres, ACME, 1)
        await write(postgres, OTHER, 2)

    async def test_after_an_error_of_the_database(self, postgres: Postgres) -> None:
        """Constraint violations leave as they are, for the store that knows what they mean."""
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(postgres, ACME, 1)

        await check_separation(postgres)

    async def test_after_an_error_of_the_caller(self, postgres: Postgres) -> None:
        """What was written in the block is gone."""

        async def fail() -> None:
            async with postgres.transaction(ACME) as connection:
                await connection.execute("INSERT INTO notes VALUES ('acme', 9, 'x')")
                raise KeyError("of the caller")

        with pytest.raises(KeyError):
            await fail()

        await check_separation(postgres)
        assert await read(postgres, ACME) == [1]

    async def test_after_a_setting_that_outlives_its_transaction(self, postgres: Postgres) -> None:
        """Whatever a transaction set for the session, the next names its own tenant."""
        async with postgres.transaction(ACME) as connection:
            await connection.execute("SET mainstay.tenant = '*'")

        assert await read(postgres, OTHER) == [2]

    async def test_after_a_statement_that_took_too_long(self, postgres_url: str) -> None:
        """It is cut off as a DatabaseError, and the connection is clean or gone."""
        async with pool_of(postgres_url, max_size=1, command_timeout=0.2) as impatient:

            async def dawdle() -> None:
                async with impatient.transaction(ACME) as connection:
                    await connection.execute("SELECT pg_sleep(30)")

            with pytest.raises(DatabaseError):
                await dawdle()

            await check_separation(impatient)

    @pytest.mark.parametrize("times", [1, 2, 3])
    async def test_after_cancellations(
        self, postgres: Postgres, complaints: list[str], times: int
    ) -> None:
        """In the middle of a statement, and again while it rolls back."""
        begun = asyncio.Event()

        async def work() -> None:
            async with postgres.transaction(ACME) as connection:
                await connection.execute("INSERT INTO notes VALUES ('acme', 9, 'x')")
                begun.set()
                await connection.execute("SELECT pg_sleep(30)")

        task = asyncio.create_task(work())
        await begun.wait()
        for _ in range(times):
            await asyncio.sleep(0.001)
            task.cancel()
        await asyncio.wait({task})

        await check_separation(postgres)
        assert await read(postgres, ACME) == [1]
        assert complaints == []

    async def test_after_cancellations_at_any_moment(
        self, postgres: Postgres, complaints: list[str]
    ) -> None:
        """A hundred calls that are cancelled who knows where leave no tenant and no transaction."""
        chance = random.Random(7)
        for _ in range(100):
            task = asyncio.create_task(write(postgres, ACME, 1_000 + chance.randrange(10**9)))
            for _ in range(chance.randrange(1, 40)):
                await asyncio.sleep(chance.choice([0, 0, 0.0001]))
            task.cancel()
            await asyncio.wait({task})
            async with postgres._connection() as connection:
                assert not connection.is_in_transaction()

        await check_separation(postgres)
        assert complaints == []
        assert metrics.postgres_pool_in_use._value.get() == 0

    async def test_an_error_that_is_kept_quiet_is_no_success(self, postgres: Postgres) -> None:
        """PostgreSQL answers a commit after an error with a rollback: the block must fail too."""

        async def swallow() -> None:
            async with postgres.transaction(ACME) as connection:
                await connection.execute("INSERT INTO notes VALUES ('acme', 9, 'x')")
                with suppress(asyncpg.UniqueViolationError):
                    await connection.execute("INSERT INTO notes VALUES ('acme', 1, 'again')")

        with pytest.raises(RuntimeError, match="nothing was committed"):
            await swallow()

        assert await read(postgres, ACME) == [1]
        await check_separation(postgres)


class TestRetries:
    async def test_a_lost_connection(self, postgres: Postgres, postgres_url: str) -> None:
        """The work is done again on another connection, and once only in effect."""
        attempts = []

        async def work(connection: Connection) -> str:
            attempts.append(await connection.fetchval("SELECT pg_backend_pid()"))
            await connection.execute("INSERT INTO notes VALUES ('acme', 5, 'x')")
            if len(attempts) == 1:
                admin = await asyncpg.connect(postgres_url)
                await admin.execute("SELECT pg_terminate_backend($1)", attempts[0])
                await admin.close()
            await connection.execute("SELECT 1")
            return "done"

        done = await postgres.run(ACME, work)

        assert (done, len(set(attempts))) == ("done", 2)
        assert await read(postgres, ACME) == [5]

    async def test_a_deadlock_or_conflict(self, postgres_url: str, postgres: Postgres) -> None:
        """Of two transactions in each other's way one is repeated; both take effect."""
        await write(postgres, ACME, 1)
        await write(postgres, ACME, 2)
        async with pool_of(postgres_url, max_size=2) as two:
            met = asyncio.Barrier(2)
            tries = []

            def update(first: int, second: int) -> Any:
                async def work(connection: Connection) -> None:
                    tries.append(first)
                    text = "UPDATE notes SET text = text || 'y' WHERE id = $1"
                    await connection.execute(text, first)
                    if len(tries) <= 2:
                        await met.wait()
                    await connection.execute(text, second)

                return work

            await asyncio.gather(two.run(ACME, update(1, 2)), two.run(ACME, update(2, 1)))
            async with two.transaction(ACME) as connection:
                texts = await connection.fetch("SELECT text FROM notes")

        assert [row["text"] for row in texts] == ["xyy", "xyy"]
        assert len(tries) == 3

    async def test_three_attempts_at_most(self, postgres: Postgres) -> None:
        """What stays broken is said."""
        attempts = []

        async def work(connection: Connection) -> None:
            attempts.append(1)
            raise ConnectionResetError("again")

        with pytest.raises(DatabaseError) as caught:
            await postgres.run(ACME, work)

        assert len(attempts) == 3
        assert (caught.value.transient, caught.value.retry_after) == (True, 0.5)

    async def test_with_longer_and_longer_pauses(self, postgres: Postgres) -> None:
        """A tenth of a second, then twice that, each more or less by half."""
        attempts = []

        async def work(connection: Connection) -> None:
            attempts.append(time.monotonic())
            raise ConnectionResetError("again")

        with pytest.raises(DatabaseError):
            await postgres.run(ACME, work)
        first, second = (later - earlier for earlier, later in pairwise(attempts))

        assert (True, True) == (first >= 0.05, second >= 0.1)

    @pytest.mark.parametrize("error", [KeyError, asyncpg.UniqueViolationError, ValueError])
    async def test_only_what_is_transient(self, postgres: Postgres, error: type[Exception]) -> None:
        """A mistake is not repeated."""
        attempts = []

        async def work(connection: Connection) -> None:
            attempts.append(1)
            raise error("no")

        with pytest.raises(error):
            await postgres.run(ACME, work)

        assert len(attempts) == 1

    async def test_an_argument_that_does_not_fit(self, postgres: Postgres) -> None:
        """Asyncpg refuses it before it is sent; no repetition can help."""
        attempts = []

        async def work(connection: Connection) -> None:
            attempts.append(1)
            await connection.execute("SELECT $1::int", "seven")

        with pytest.raises(asyncpg.DataError):
            await postgres.run(ACME, work)

        assert len(attempts) == 1
