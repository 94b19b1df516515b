"""Installing, upgrading and removing an outbox, and who may do what with it."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from asyncpg import exceptions

from cli.embedded.postgres import PostgresServer
from mainstay.errors import ConfigurationError, ConflictError, PreconditionError
from mainstay.outbox import Outbox
from mainstay.outbox.schema import Step, load_queries, packaged_steps, script
from tests.integration.outbox.relays import relay_once

NEWEST = packaged_steps()[-1].version
NEXT = Step(
    version=NEWEST + 1,
    sql=f"""
    ALTER TABLE mainstay_outbox.messages ADD COLUMN note text NOT NULL DEFAULT '';
    INSERT INTO mainstay_outbox.versions (version) VALUES ({NEWEST + 1});
    """,
)
BROKEN = Step(version=NEWEST + 2, sql="ALTER TABLE mainstay_outbox.nothing ADD COLUMN note text")
SEND = "SELECT mainstay_outbox.send_event('order/placed', '{\"order\": 1}')"


async def names(own: asyncpg.Connection) -> set[str]:
    """Return the schemas that are no part of PostgreSQL."""
    rows = await own.fetch(
        "SELECT nspname FROM pg_namespace "
        "WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')"
    )
    return {row["nspname"] for row in rows}


class TestInstall:
    async def test_twice(self, own: asyncpg.Connection, own_url: str) -> None:
        """The second time changes nothing, and says so."""
        outbox = Outbox(own_url)
        first = await outbox.install()
        await own.execute(SEND)
        second = await outbox.install()

        assert ([*range(1, NEWEST + 1)], []) == (first, second)
        assert (NEWEST, 1) == ((await outbox.status()).version, (await outbox.status()).pending)

    async def test_by_two_at_once(self, own_url: str) -> None:
        """One waits for the other."""
        done = await asyncio.gather(*(Outbox(own_url).install() for _ in range(4)))

        assert [[], [], [], [*range(1, NEWEST + 1)]] == sorted(done)

    @pytest.mark.parametrize("schema", ["user", "mainstay", "a" * 63])
    async def test_under_another_name(
        self, own: asyncpg.Connection, own_url: str, jobs_address: str, schema: str
    ) -> None:
        """Everything works under any name, beside another outbox."""
        await Outbox(own_url).install()
        outbox = Outbox(own_url, schema=schema)
        await outbox.install()
        await own.execute(SEND.replace("mainstay_outbox", f'"{schema}"'))
        done = await relay_once(outbox, jobs_address)

        assert (1, 0) == (done.accepted, (await Outbox(own_url).status()).pending)
        assert {"mainstay_outbox", schema} == await names(own)

    @pytest.mark.parametrize("schema", ["", "Outbox", 'a"b', "pg_outbox", "a" * 64, "1st", "a.b"])
    def test_under_no_such_name(self, schema: str) -> None:
        """What cannot be a name, or would have to be quoted by every caller, is refused."""
        with pytest.raises(ConfigurationError, match="cannot be the schema of an outbox"):
            Outbox("postgresql://127.0.0.1/x", schema=schema)

    async def test_beside_what_is_somebody_elses(
        self, own: asyncpg.Connection, own_url: str
    ) -> None:
        """A schema that is no outbox is left alone."""
        await own.execute("CREATE SCHEMA mainstay_outbox; CREATE TABLE mainstay_outbox.t ()")

        with pytest.raises(PreconditionError, match="is no outbox"):
            await Outbox(own_url).install()

    async def test_by_migrations_of_ones_own(
        self, own: asyncpg.Connection, own_url: str, jobs_address: str
    ) -> None:
        """The printed SQL makes the same outbox."""
        await own.execute(script())
        await own.execute(SEND)
        outbox = Outbox(own_url)
        done = await relay_once(outbox, jobs_address)

        assert ([], 1) == (await outbox.install(), done.accepted)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("postgresql://u:se/cret@127.0.0.1:x/db", "none of PostgreSQL"),
            ("nonsense://secret", "none of PostgreSQL"),
        ],
    )
    async def test_where_the_url_is_none(self, url: str, said: str) -> None:
        """The error does not repeat a part of the URL, which may be the password."""
        with pytest.raises(ConfigurationError, match=said) as caught:
            await Outbox(url).install()

        assert "cret" not in str(caught.value)


class TestUpgrade:
    async def test_keeps_what_is_there(
        self, own: asyncpg.Connection, own_url: str, outbox: Outbox, jobs_address: str
    ) -> None:
        """Messages stay, and this release's relay works on the next release's outbox."""
        await own.execute(SEND)
        newer = Outbox(own_url, steps=[*packaged_steps(), NEXT])
        upgraded = await newer.install()
        await own.execute(SEND)
        done = await relay_once(outbox, jobs_address)

        assert [NEXT.version] == upgraded
        assert (2, NEXT.version) == (done.accepted, (await newer.status()).version)
        assert [] == await outbox.install()

    async def test_is_whole_or_not_at_all(
        self, own: asyncpg.Connection, own_url: str, outbox: Outbox
    ) -> None:
        """When a step fails, those before it are undone too."""
        with pytest.raises(PreconditionError):
            await Outbox(own_url, steps=[*packaged_steps(), NEXT, BROKEN]).install()

        assert NEWEST == (await outbox.status()).version

    async def test_by_migrations_of_ones_own(
        self, own: asyncpg.Connection, own_url: str, outbox: Outbox
    ) -> None:
        """The SQL after a version is what is missing from it."""
        steps = [*packaged_steps(), NEXT]
        await own.execute(script(after=NEWEST, steps=steps))

        assert [] == await Outbox(own_url, steps=steps).install()


class TestRemove:
    async def test_leaves_nothing(self, own: asyncpg.Connection, outbox: Outbox) -> None:
        """Once it is empty."""
        await outbox.remove()

        assert set() == await names(own)

    async def test_spares_what_was_not_sent(self, own: asyncpg.Connection, outbox: Outbox) -> None:
        """Messages are lost only by force."""
        await own.execute(SEND)
        with pytest.raises(ConflictError, match="still holds 1 messages"):
            await outbox.remove()
        kept = (await outbox.status()).pending
        await outbox.remove(force=True)

        assert (1, set()) == (kept, await names(own))

    async def test_spares_what_others_have_built(
        self, own: asyncpg.Connection, outbox: Outbox
    ) -> None:
        """And names it."""
        await own.execute("CREATE VIEW public.mine AS SELECT id FROM mainstay_outbox.messages")

        with pytest.raises(PreconditionError, match="mine"):
            await outbox.remove()


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "broken"),
        [
            ("'', '{}'", "name_is_bounded"),
            ("'a', '[]'", "data_is_an_object"),
            ("'a', jsonb_build_object('x', repeat('x', 1048576))", "data_is_at_most_1_mib"),
            ("'a', '{}', repeat('x', 201)", "idempotency_key_is_bounded"),
            ("'a', '{}', version => -1", "version_is_not_negative"),
            ("'a', '{}', priority => 101", "priority_is_bounded"),
            ("'a', '{}', delay => '366 days'", "delay_is_bounded"),
            ("'a', '{}', delay => '-1 second'", "delay_is_bounded"),
            ("'a', '{}', tenant => '*'", "tenant_is_a_name"),
        ],
    )
    async def test_fails_where_it_is_given(
        self, own: asyncpg.Connection, outbox: Outbox, arguments: str, broken: str
    ) -> None:
        """The transaction learns by name what the service would refuse for certain."""
        with pytest.raises(exceptions.CheckViolationError) as caught:
            await own.execute(f"SELECT mainstay_outbox.send_event({arguments})")

        assert broken == caught.value.constraint_name

    async def test_null_is_no_payload(self, own: asyncpg.Connection, outbox: Outbox) -> None:
        """Name and data have to be there."""
        with pytest.raises(exceptions.NotNullViolationError):
            await own.execute("SELECT mainstay_outbox.enqueue('ship', NULL)")


class TestPlans:
    async def test_of_a_batch_on_an_empty_table(self, outbox: Outbox) -> None:
        """A plan that is made before there is anything, and kept, goes by the index."""
        async with outbox.connected() as connection:
            rows = await connection.fetch(
                f"EXPLAIN {load_queries(outbox.schema)['take']}", 100, 1_000_000, ["event"]
            )

        plan = "\n".join(row[0] for row in rows)
        assert "messages_pending" in plan
        assert "Seq Scan" not in plan
        assert "Sort Key: messages" not in plan


class TestRights:
    """With two roles that have no rights but those that were given here."""

    @pytest.fixture
    async def server(self, private_postgres: PostgresServer) -> PostgresServer:
        """Let two more roles in."""
        server = private_postgres
        await server.stop()
        statements = server.directory / "roles.sql"
        statements.write_text('CREATE ROLE "my app" LOGIN;\nCREATE ROLE relay LOGIN;\n')
        await server._run("postgres", server.data, ["--single", "postgres"], source=statements)
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write('host all "my app",relay 127.0.0.1/32 trust\n')
        await server.start()
        await Outbox(server.url).install(senders=["my app"], relays=["relay"])
        return server

    @pytest.fixture
    async def app(self, server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
        """Connect as the application."""
        connection = await asyncpg.connect(as_role(server.url, "my%20app"))
        yield connection
        await connection.close()

    @pytest.fixture
    def relay_url(self, server: PostgresServer) -> str:
        """Return how the relay connects."""
        return as_role(server.url, "relay")

    async def test_of_a_sender_are_the_functions(
        self, app: asyncpg.Connection, server: PostgresServer
    ) -> None:
        """It can send, and what it finds first by its own search path is not used for that."""
        owner = await asyncpg.connect(server.url)
        await owner.execute(
            'CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO "my app"; '
            "CREATE FUNCTION trap.gen_random_uuid() RETURNS uuid LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION ''trapped''; END'"
        )
        await owner.close()
        await app.execute("SET search_path = trap, pg_catalog")
        sent = await app.fetchval(SEND)
        started = await app.fetchval(
            "SELECT mainstay_outbox.enqueue(function => 'a', data => '{}')"
        )

        assert (1, 2, 2) == (sent, started, (await Outbox(server.url).status()).pending)

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM mainstay_outbox.messages",
            "INSERT INTO mainstay_outbox.messages DEFAULT VALUES",
            "UPDATE mainstay_outbox.messages SET name = 'a'",
            "DELETE FROM mainstay_outbox.messages",
            "TRUNCATE mainstay_outbox.messages",
            "SELECT * FROM mainstay_outbox.versions",
            "CREATE TABLE mainstay_outbox.mine ()",
            "SELECT nextval('mainstay_outbox.messages_id_seq')",
            "DROP SCHEMA mainstay_outbox CASCADE",
        ],
    )
    async def test_of_a_sender_are_nothing_else(
        self, app: asyncpg.Connection, statement: str
    ) -> None:
        """It neither sees nor changes what is there."""
        with pytest.raises(exceptions.InsufficientPrivilegeError):
            await app.execute(statement)

    async def test_of_a_relay_are_enough_to_relay(
        self, app: asyncpg.Connection, relay_url: str, jobs_address: str
    ) -> None:
        """And to look after what failed."""
        await app.execute(SEND)
        await app.execute("SELECT mainstay_outbox.send_event('order/placed', '{}')")
        outbox = Outbox(relay_url)
        done = await relay_once(outbox, jobs_address)

        assert (1, 1, NEWEST) == (done.accepted, done.failed, (await outbox.status()).version)
        assert ([2], []) == (await outbox.retry(), await outbox.discard([2]))

    async def test_of_a_relay_are_not_to_send(self, relay_url: str) -> None:
        """What it takes is what applications sent."""
        connection = await asyncpg.connect(relay_url)
        with pytest.raises(exceptions.InsufficientPrivilegeError):
            await connection.execute(SEND)
        await connection.close()

    async def test_are_missed_by_name(self, server: PostgresServer) -> None:
        """A role that was not named is told what it lacks."""
        with pytest.raises(ConfigurationError, match="--relay-role"):
            await Outbox(as_role(server.url, "my%20app")).status()


def as_role(url: str, role: str) -> str:
    """Return the URL for another role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))
